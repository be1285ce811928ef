//! `/search`: leads to the task with an id, or to those that a text stands in.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::App;
use longhaul_model::split_public_id;
use longhaul_model::store::list::listed;

use crate::filter::{Chosen, field, fields};
use crate::format::escaped;
use crate::respond::{PageError, go};

pub(crate) async fn find(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, PageError> {
    let fields = fields(&request)?;
    let text = field(&fields, "q").unwrap_or_default().trim();
    if let Some((_, guid)) = split_public_id(text)
        && let Some(found) = listed(app.pool(), &[guid]).await?.first()
    {
        return Ok(go(&format!("/tasks/{}", escaped(&found.more.public_id))));
    }
    let chosen = Chosen { text: Some(text.to_owned()).filter(|text| !text.is_empty()), ..Chosen::default() };
    Ok(go(&chosen.address("/tasks", None)))
}
