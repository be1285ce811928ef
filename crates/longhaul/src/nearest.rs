//! What someone may have meant.

/// ` (did you mean 'this'?)`: the name that is most like the one that is not there, if any is.
pub(crate) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let likeness = |name: &str| strsim::jaro_winkler(&name.to_lowercase(), &wrong.to_lowercase());
    let best = names.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    best.filter(|name| likeness(name) > 0.7).map_or_else(String::new, |name| format!(" (did you mean '{name}'?)"))
}
