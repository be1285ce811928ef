//! A real corpus that a Debian machine can make by itself.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::json;
use uuid::{Uuid, uuid};

/// The project of the seed's first example.
pub(crate) const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");

/// Where dpkg keeps what is installed.
const DPKG_STATUS: &str = "/var/lib/dpkg/status";

/// What was written.
pub(crate) struct Written {
    pub(crate) source: &'static str,
    pub(crate) packages: usize,
    pub(crate) dependencies: usize,
}

/// Writes every known package as an entity and every dependency on another
/// known one as a relationship. Ids follow from names, so that writing and
/// importing again changes nothing.
pub(crate) fn write_debian(out: &mut impl Write) -> anyhow::Result<Written> {
    let (source, text) = packages()?;
    let stanzas: Vec<Stanza<'_>> = text.split("\n\n").filter_map(Stanza::parse).collect();
    let mut known: HashSet<&str> = HashSet::new();
    let stanzas: Vec<_> = stanzas.into_iter().filter(|stanza| known.insert(stanza.package)).collect();
    write_line(out, &json!({"Record": "Project", "Id": PROJECT, "Name": "Debian packages"}))?;
    for stanza in &stanzas {
        write_line(
            out,
            &json!({
                "Record": "Entity", "Id": id_of(stanza.package), "ProjectId": PROJECT, "Kind": "Package",
                "Key": stanza.package, "Name": stanza.synopsis, "Fields": stanza.fields,
            }),
        )?;
    }
    let mut dependencies = 0;
    for stanza in &stanzas {
        let mut named: Vec<&str> =
            stanza.depends().filter(|name| known.contains(name) && *name != stanza.package).collect();
        named.sort_unstable();
        named.dedup();
        dependencies += named.len();
        for name in named {
            write_line(
                out,
                &json!({"Record": "Relationship", "SourceId": id_of(stanza.package), "TargetId": id_of(name), "Kind": "DependsOn"}),
            )?;
        }
    }
    Ok(Written { source, packages: stanzas.len(), dependencies })
}

fn packages() -> anyhow::Result<(&'static str, String)> {
    let available = Command::new("apt-cache").arg("dumpavail").stderr(Stdio::null()).output();
    if let Ok(output) = available
        && output.status.success()
        && output.stdout.len() > 100_000
    {
        return Ok(("apt-cache dumpavail", String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let status = std::fs::read(DPKG_STATUS).with_context(|| {
        format!(
            "neither `apt-cache dumpavail` nor {DPKG_STATUS} has packages; import a file of your own (docs/import.md)"
        )
    })?;
    Ok(("dpkg's status file", String::from_utf8_lossy(&status).into_owned()))
}

fn write_line(out: &mut impl Write, line: &serde_json::Value) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn id_of(package: &str) -> Uuid {
    Uuid::new_v5(&PROJECT, package.as_bytes())
}

/// One package's paragraph (Debian policy, 5.1).
struct Stanza<'a> {
    package: &'a str,
    synopsis: &'a str,
    depends: &'a str,
    fields: BTreeMap<&'static str, String>,
}

impl<'a> Stanza<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut stanza = Stanza { package: "", synopsis: "", depends: "", fields: BTreeMap::new() };
        let mut in_description = false;
        for line in text.lines() {
            if let Some(more) = line.strip_prefix(' ') {
                if in_description {
                    let description = stanza.fields.entry("Description").or_default();
                    if !description.is_empty() {
                        description.push(' ');
                    }
                    // A lone dot is an empty line.
                    description.push_str(if more.trim() == "." { "" } else { more.trim() });
                }
                continue;
            }
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            in_description = name.starts_with("Description") && name != "Description-md5";
            match name {
                "Package" => stanza.package = value,
                "Depends" => stanza.depends = value,
                "Description" | "Description-en" => stanza.synopsis = value,
                "Version" => drop(stanza.fields.insert("Version", value.to_owned())),
                "Section" => drop(stanza.fields.insert("Section", value.to_owned())),
                "Homepage" => drop(stanza.fields.insert("Homepage", value.to_owned())),
                _ => {}
            }
        }
        (!stanza.package.is_empty()).then_some(stanza)
    }

    /// The first alternative of each dependency, without version and
    /// architecture.
    fn depends(&self) -> impl Iterator<Item = &'a str> {
        self.depends
            .split(',')
            .filter_map(|dependency| dependency.trim().split([' ', '|', ':', '(']).next())
            .filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::Stanza;

    #[test]
    fn a_paragraph_becomes_an_entity() {
        let text = "Package: grep\nVersion: 3.8\nDepends: dpkg (>= 1.15.4) | install-info, libc6:any\nDescription: GNU grep\n A tool.\n .\n More.\nSection: utils";
        let stanza = Stanza::parse(text).expect("a package");
        assert_eq!((stanza.package, stanza.synopsis), ("grep", "GNU grep"));
        assert_eq!(stanza.depends().collect::<Vec<_>>(), ["dpkg", "libc6"]);
        assert_eq!(stanza.fields["Description"], "A tool.  More.");
        assert_eq!(stanza.fields["Section"], "utils");
    }
}
