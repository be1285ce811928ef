//! The routes of webhooks, one file a kind of record.

mod delivery;
mod webhook;

use longhaul_api::Routes;

/// Adds the routes; for [`longhaul_api::AppBuilder::with_routes`].
pub fn configure(routes: &mut Routes) {
    webhook::add(routes);
    delivery::add(routes);
}
