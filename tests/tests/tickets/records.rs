//! The records' addresses.

use longhaul_tests::fill_project;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::scene::*;

const ALL: [(&str, &str, &str); 9] = [
    ("externalsystem", "externalsystems", "unknown-external-system"),
    ("externalsystemlink", "externalsystemlinks", "unknown-external-system-link"),
    ("scriptassignment", "scriptassignments", "unknown-script-assignment"),
    ("agilerun", "agileruns", "unknown-agile-run"),
    ("automatedtestrun", "automatedtestruns", "unknown-automated-test-run"),
    ("resultnode", "resultnodes", "unknown-result-node"),
    ("incident", "incidents", "unknown-incident"),
    ("incidentlink", "incidentlinks", "unknown-incident-link"),
    ("upload", "uploads", "unknown-upload"),
];

#[tokio::test]
async fn every_record_is_listed_read_and_deleted_by_the_same_rules() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    for (one, many, code) in ALL {
        let (status, list) = stage.get(&format!("/api/{many}")).await;
        assert_eq!(status, 200, "{many}: {list}");
        for item in list["Items"].as_array().expect("items") {
            let address = item["Links"][0]["Href"].as_str().expect("an address");
            assert_eq!(address, format!("{}/api/{one}/{}", stage.base_url, item["Id"].as_str().expect("an id")));
            assert_eq!(stage.get(address).await, (200, item.clone()));
        }
        for id in ["nonsense", "00000000-0000-0000-0000-000000000000", "c651ed195375475aa5399f6401467130"] {
            let (status, problem) = stage.get(&format!("/api/{one}/{id}")).await;
            assert_eq!((status, &problem["code"]), (404, &json!(code)), "{one}");
        }
        for (method, path) in [(Method::PUT, format!("{one}/x")), (Method::DELETE, many.to_owned())] {
            let url = format!("{}/api/{path}", stage.base_url);
            let response = stage.http.request(method, url).send().await.expect("an answer");
            assert_eq!(response.status(), 405, "{path}");
            assert!(response.headers()["allow"].to_str().expect("text").starts_with("GET"));
        }
        let (status, problem) = stage.get(&format!("/api/{many}?limit=0&after=x&colour=1")).await;
        assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (400, Some(3)), "{problem}");
    }
}

#[tokio::test]
async fn pages_lead_through_all_of_a_project_and_nothing_else() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let other = Uuid::from_u128(7);
    fill_project(&stage.pool, other, 0).await;
    for name in 0..5 {
        create(stage, "agileruns", json!({"ProjectId": other, "Name": format!("Run {name}")})).await;
    }
    let mut next = Some(format!("/api/agileruns?project={other}&limit=2"));
    let (mut pages, mut names) = (0, Vec::new());
    while let Some(address) = next {
        let (status, page) = stage.get(&address).await;
        assert_eq!(status, 200, "{page}");
        pages += 1;
        names.extend(page["Items"].as_array().expect("items").iter().map(|item| item["Name"].clone()));
        let links = page["Links"].as_array().expect("links");
        next =
            links.iter().find(|link| link["Rel"] == "Next").map(|link| link["Href"].as_str().expect("text").to_owned());
    }
    assert_eq!(pages, 3);
    assert_eq!(names, ["Run 0", "Run 1", "Run 2", "Run 3", "Run 4"]);
}

#[tokio::test]
async fn steps_and_nodes_are_shown_in_order() {
    let scene = Scene::new().await;
    let (_, assignments) = scene.stage.get("/api/scriptassignments").await;
    let steps = &assignments["Items"][0]["StepResults"];
    assert_eq!((&steps[0]["Id"], &steps[0]["Status"]), (&json!(STEP_RESULT), &json!("Failed")));
    assert_eq!((&steps[1]["Name"], &steps[1]["Status"]), (&json!("Log out"), &json!("NotRun")));
    let (_, run) = scene.stage.get(&format!("/api/automatedtestrun/{TEST_RUN}")).await;
    assert_eq!((&run["Cases"], &run["Failed"], &run["Passed"]), (&json!(1), &json!(1), &json!(0)));
    let (_, nodes) = scene.stage.get(&format!("/api/resultnodes?automatedtestrun={TEST_RUN}")).await;
    let mut nodes: Vec<&Value> = nodes["Items"].as_array().expect("items").iter().collect();
    nodes.sort_by_key(|node| node["Position"].as_i64());
    assert_eq!((&nodes[0]["Kind"], &nodes[1]["Kind"]), (&json!("Suite"), &json!("Case")));
    assert_eq!(nodes[1]["ParentId"], nodes[0]["Id"]);
}

#[tokio::test]
async fn bad_records_are_refused_with_everything_that_is_wrong() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let body = json!({"ProjectId": "x", "Colour": 1, "Steps": [{"Name": "", "Status": "Odd"}]});
    let (status, problem) = post(stage, "agileruns", &body).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid-request")));
    let mut pointers: Vec<&str> =
        problem["errors"].as_array().expect("errors").iter().filter_map(|error| error["pointer"].as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/Colour", "/Name", "/ProjectId", "/Steps/0/Name", "/Steps/0/Status"]);

    let (status, problem) = post(stage, "agileruns", &json!({"ProjectId": Uuid::nil(), "Name": "x"})).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!("/ProjectId")), "{problem}");
    let (status, problem) = post(stage, "agileruns", &json!({"ProjectId": PROJECT, "Name": "a\u{0}b"})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid-request")), "{problem}");
    let (status, problem) =
        post(stage, "agileruns", &json!({"Id": AGILE_RUN, "ProjectId": PROJECT, "Name": "again"})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("already-exists")), "{problem}");
    let text = stage.http.post(format!("{}/api/agileruns", stage.base_url)).body("x").send().await.expect("an answer");
    assert_eq!(text.status(), 415);
}

#[tokio::test]
async fn a_deleted_record_takes_what_belongs_to_it_along() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let delete = async |path: &str| {
        let response = stage.http.delete(format!("{}/api/{path}", stage.base_url)).send().await.expect("an answer");
        response.status().as_u16()
    };
    assert_eq!(delete(&format!("automatedtestrun/{TEST_RUN}")).await, 204);
    assert_eq!(delete(&format!("automatedtestrun/{TEST_RUN}")).await, 404);
    assert_eq!(stage.get(&format!("/api/resultnode/{RESULT_NODE}")).await.0, 404);
}
