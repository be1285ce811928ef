// Drives the dashboard as people do, against a real program on a real database.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const modules = createRequire(join(resolve(process.env.LONGHAUL_MODULES), "x.js"));
const { chromium } = modules("playwright-core");
const axeSource = readFileSync(modules.resolve("axe-core/axe.min.js"), "utf8");
const artefacts = process.env.LONGHAUL_ARTEFACTS;
const DEADLINE = 60_000;

const data = mkdtempSync(join(tmpdir(), "longhaul-browser-data-"));
// PostgreSQL runs as another user than root.
chmodSync(data, 0o755);
const program = spawn(process.env.LONGHAUL_PROGRAM, ["dev", "--listen", "127.0.0.1:0", "--data", join(data, "pg")], {
  stdio: ["ignore", "pipe", "ignore"],
});
const base = await new Promise((found, failed) => {
  program.once("exit", () => failed(new Error("the program ended")));
  createInterface({ input: program.stdout }).on("line", (line) => {
    const address = line.match(/API listens on (http:\S+)/);
    if (address) found(address[1]);
  });
});

const post = async (path, body) => {
  const response = await fetch(base + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const answer = await response.json();
  assert.ok(response.ok, JSON.stringify(answer));
  return answer;
};
const start = (type, parameters = {}, more = {}) => post("/api/backgroundtasks", { Type: type, Parameters: parameters, ...more });
const until = async (what, ask) => {
  for (const began = Date.now(); Date.now() - began < DEADLINE; await new Promise((next) => setTimeout(next, 50))) {
    const answer = await ask();
    if (answer) return answer;
  }
  throw new Error(`waited in vain: ${what}`);
};
const ended = (task) => until(`${task.Id} to end`, async () => {
  const body = await (await fetch(task.Self)).json();
  return body.Complete && body;
});

// Names of others that lead to this machine.
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--host-resolver-rules=MAP *.example 127.0.0.1"],
});
const contexts = [];
const open = async (options = {}) => {
  const context = await browser.newContext({ viewport: { width: 1320, height: 860 }, ...options });
  context.setDefaultTimeout(DEADLINE);
  contexts.push(context);
  const page = await context.newPage();
  // A policy that something breaks, or an error in the script, is an error here.
  page.on("console", (message) => { if (message.type() === "error") complaints.push(`${page.url()}: ${message.text()}`); });
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error.message}`));
  return page;
};
const complaints = [];
// Pages that are meant to be refused.
const expected = /404 \(Not Found\)|400 \(Bad Request\)|ERR_INTERNET_DISCONNECTED/;

/** Looks for what axe calls serious or critical. It is put in by the driver, past the page's policy. */
const axe = async (page, where) => {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const told = grave.map(({ id, help, nodes }) => `${id}: ${help}\n    ${nodes.slice(0, 3).map((node) => `${node.html}\n      ${node.failureSummary.replaceAll("\n", " ")}`).join("\n    ")}`);
  assert.deepEqual(told, [], `axe on ${where}:\n${told.join("\n")}`);
};
const shot = (page, name) => page.screenshot({ path: join(artefacts, `${name}.png`), fullPage: true });

const steps = [];
const step = async (name, run) => {
  const began = Date.now();
  try {
    await run();
  } catch (error) {
    console.log(`FAILED  ${name}`);
    await Promise.all(contexts.flatMap((context) => context.pages()).map((page, at) => shot(page, `failed-${at}`).catch(() => {})));
    throw error;
  }
  steps.push(name);
  console.log(`ok  ${name} (${Date.now() - began} ms)`);
};

try {
  const page = await open();

  await step("an empty queue says what to do", async () => {
    await page.goto(`${base}/`);
    await page.getByText("Nothing runs").waitFor();
    await axe(page, "the empty overview");
    await shot(page, "empty-overview");
    await page.goto(`${base}/tasks`);
    await page.getByText("No tasks yet").waitFor();
    await shot(page, "empty-tasks");
  });

  const project = await ended(await start("GenerateTestProject", { Entities: 150_000, Seed: 5, Name: "Apollo" }));
  let reindex;

  await step("a Reindex that is started shows up and its bar moves without a reload", async () => {
    await page.goto(`${base}/tasks?type=Reindex`);
    reindex = await start("Reindex", { ProjectId: project.Result.ProjectId });
    await page.evaluate(() => { window.loadedOnce = true; });
    await page.locator("#list a", { hasText: "Reindex" }).first().click();
    await page.waitForURL(/\/tasks\/reindex-/);
    await page.evaluate(() => { window.loadedOnce = true; });
    const seen = new Set();
    await until("the bar to move", async () => {
      seen.add(await page.locator("#bar").evaluate((bar) => bar.value));
      return seen.size >= 3;
    });
    assert.ok(await page.evaluate(() => window.loadedOnce), "the page was not loaded anew");
    assert.match(await page.locator("#elements").textContent(), /of 150,001 elements/);
    await shot(page, "task-running");
  });

  await step("it is cancelled by its button, and the page sees its end", async () => {
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("status").filter({ hasText: /asked to stop|cancelled/ }).waitFor();
    await page.locator("#state", { hasText: "Cancelled" }).waitFor();
    await page.getByRole("button", { name: "Retry" }).waitFor();
    await shot(page, "task-cancelled");
  });

  await step("it is retried, and the page follows it to its end", async () => {
    await page.getByRole("button", { name: "Retry" }).click();
    await page.getByRole("status").filter({ hasText: "queued again" }).waitFor();
    await page.evaluate(() => { window.loadedOnce = true; });
    await page.locator("#state", { hasText: "Succeeded" }).waitFor();
    await page.locator("#outcome", { hasText: "Result" }).waitFor();
    assert.equal(await page.locator("#bar").evaluate((bar) => bar.value), 1);
    assert.ok(await page.evaluate(() => window.loadedOnce), "the page was not loaded anew");
  });

  const failing = await ended(await start("AutomatedTestImport", { ProjectId: project.Result.ProjectId, Name: "<b>nightly</b>", Content: "<nonsense" }));
  assert.equal(failing.State, "Failed");
  const first = await start("GenerateTestProject", { Entities: 150_000, Seed: 9, Name: "Gemini" });
  const second = await start("Reindex", { ProjectId: project.Result.ProjectId }, { After: [first.Id] });
  await start("SyncIncidents", {}, { After: [second.Id] }).catch(() => start("Reindex", { Optimize: true }, { After: [second.Id] }));
  await post("/api/schedules", { Name: "nightly-reindex", Cron: "30 2 * * *", TimeZone: "Europe/Berlin", Type: "Reindex", Parameters: { Optimize: true } });
  for (const seed of [1, 2, 3]) await start("GenerateTestProject", { Entities: 500, Seed: seed }, { DelaySeconds: 86_400 });

  await step("lists are filtered by ticking and choosing", async () => {
    await page.goto(`${base}/tasks`);
    await page.locator(".chip", { hasText: "Failed" }).click();
    await page.waitForURL(/state=Failed/);
    assert.deepEqual(await page.locator("#list tbody .state").allTextContents(), ["Failed"]);
    await page.locator(".chip", { hasText: "Failed" }).click();
    await page.locator("select[name=type]").selectOption("Reindex");
    await page.waitForURL(/type=Reindex/);
    const names = await page.locator("#list tbody b").allTextContents();
    assert.ok(names.length > 0 && names.every((name) => name === "Reindex"), names.join());
    await page.getByPlaceholder("Id, name or text").fill(reindex.Id);
    await page.keyboard.press("Enter");
    await page.waitForURL(new RegExp(reindex.Id));
  });

  await step("a search finds a schedule by its name, and leads to it", async () => {
    await page.goto(`${base}/`);
    await page.getByPlaceholder("Id, name or text").fill("nightly");
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "nightly-reindex" }).click();
    await page.waitForURL(/schedules\?name=nightly-reindex/);
    await page.getByRole("button", { name: "Pause nightly-reindex" }).waitFor();
  });

  await step("an error leads to what the documentation says of it, which is marked", async () => {
    await page.goto(`${base}/tasks/${failing.Id}`);
    await page.locator("#error a", { hasText: "invalid-junit" }).click();
    await page.waitForURL(/docs\/errors#invalid-junit/);
    assert.match(await page.locator("tr:has(:target)").textContent(), /The file is not a JUnit report/);
  });

  await step("ticked tasks are cancelled together", async () => {
    await page.goto(`${base}/tasks?state=Scheduled`);
    await page.locator("#list tbody input").nth(0).check();
    await page.locator("#list tbody input").nth(1).check();
    await page.getByText("2 selected").waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("status").filter({ hasText: "cancelled" }).waitFor();
    assert.equal(await page.locator("#list tbody tr").count(), 1);
    await page.reload();
    assert.equal(await page.locator(".notice").count(), 0, "news are said once");
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.locator(".notice.warn", { hasText: "No task is selected" }).waitFor();
  });

  await step("a task is found by the end of its id that lists show", async () => {
    await page.goto(`${base}/tasks`);
    await page.getByPlaceholder("Id, name or text").fill(`…${reindex.Id.slice(-8)}`);
    await page.keyboard.press("Enter");
    await page.locator(`#tasks a[href="/tasks/${reindex.Id}"]`).waitFor();
  });

  await step("while the server does not answer nothing is live, and what is over is not asked for again", async () => {
    await page.goto(`${base}/`);
    await page.locator("#live", { hasText: "Live" }).waitFor();
    await page.context().setOffline(true);
    await page.locator("#live.down", { hasText: "Offline" }).waitFor();
    await page.locator("#stale").waitFor();
    await shot(page, "offline");
    await page.context().setOffline(false);
    await page.locator("#live:not(.down)", { hasText: "Live" }).waitFor();
    await page.goto(`${base}/tasks/${reindex.Id}`);
    assert.equal(await page.locator("#live").count(), 0);
  });

  await step("a queue is paused and resumed", async () => {
    await page.goto(`${base}/queues`);
    await page.getByRole("button", { name: "Pause default" }).click();
    await page.locator("#depth-default .tag", { hasText: "paused" }).waitFor();
    assert.equal((await (await fetch(`${base}/api/queues/default`)).json()).Paused, true);
    const held = await start("GenerateTestProject", { Entities: 100, Seed: 4 });
    await page.locator("#depth-default", { hasText: "Held1" }).waitFor();
    const view = await open();
    await view.goto(`${base}/tasks/${held.Id}`);
    await view.locator("#reasons", { hasText: "The queue default has been paused since" }).waitFor();
    await view.evaluate(() => { window.loadedOnce = true; });
    await page.getByRole("button", { name: "Resume default" }).click();
    await page.locator("#depth-default .tag", { hasText: "open" }).waitFor();
    await ended(held);
    await view.locator("#state", { hasText: "Succeeded" }).waitFor();
    assert.equal(await view.locator("#reasons").textContent(), "", "nothing holds it any more");
    assert.ok(await view.evaluate(() => window.loadedOnce), "the page was not loaded anew");
  });

  await step("a schedule is paused and resumed", async () => {
    await page.goto(`${base}/schedules`);
    await page.getByRole("button", { name: "Pause nightly-reindex" }).click();
    await page.getByRole("button", { name: "Resume nightly-reindex" }).click();
    await page.getByRole("button", { name: "Pause nightly-reindex" }).waitFor();
  });

  await step("the keyboard reaches the content first, and then every place", async () => {
    await page.goto(`${base}/`);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    await page.goto(`${base}/`);
    for (let tab = 0; tab < 4; tab += 1) await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/tasks$/);
  });

  await step("colours follow the system until they are chosen, and the choice is kept", async () => {
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.getByRole("button", { name: "Dark" }).click();
    assert.notEqual(await ground(), light);
    await page.reload();
    assert.notEqual(await ground(), light);
    await page.getByRole("button", { name: "Light" }).click();
    assert.equal(await ground(), light);
  });

  await step("without a script pages are read and filtered", async () => {
    const plain = await open({ javaScriptEnabled: false });
    await plain.goto(`${base}/tasks`);
    await plain.locator("select[name=type]").selectOption("AutomatedTestImport");
    await plain.getByRole("button", { name: "Show" }).click();
    await plain.locator("#list a", { hasText: "AutomatedTestImport" }).click();
    await plain.locator("#error").waitFor();
    await plain.getByText("invalid-junit").first().waitFor();
    await shot(plain, "without-script");
  });

  const later = await start("GenerateTestProject", { Entities: 10, Seed: 8 }, { DelaySeconds: 86_400 });
  const waiting = await start("GenerateTestProject", { Entities: 10, Seed: 9 }, { After: [later.Id] });
  await post("/api/tasktypes/GenerateTestProject/pause");
  const held = await start("GenerateTestProject", { Entities: 10, Seed: 10 });
  const places = [
    ["overview", "/"],
    ["tasks", "/tasks"],
    ["tasks-none", "/tasks?queue=nowhere"],
    ["ask", "/tasks/all?state=Failed&deed=retry"],
    ["task-failed", `/tasks/${failing.Id}`],
    ["task-tied", `/tasks/${second.Id}`],
    ["task-scheduled", `/tasks/${later.Id}`],
    ["task-waiting", `/tasks/${waiting.Id}`],
    ["task-held", `/tasks/${held.Id}`],
    ["task-succeeded", `/tasks/${reindex.Id}`],
    ["queues", "/queues"],
    ["schedules", "/schedules"],
    ["workers", "/workers"],
    ["search", "/search?q=reindex"],
    ["search-nothing", "/search?q=pineapple"],
    ["docs", "/docs/cli"],
    ["docs-error", "/docs/errors#task-ended"],
    ["docs-wide", "/docs/features#attempts-and-failures"],
    ["docs-code", "/docs/clients"],
    ["docs-search", "/docs?q=poison+task"],
    ["unknown", "/taks"],
    ["not-there", "/tasks/job-00000000-0000-0000-0000-000000000000"],
    ["wrong-filter", "/tasks?state=Broken"],
  ];
  for (const [scheme, options] of [
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["mobile", { colorScheme: "light", viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true }],
    ["mobile-dark", { colorScheme: "dark", viewport: { width: 360, height: 780 }, hasTouch: true, isMobile: true }],
  ]) {
    await step(`axe finds nothing grave on any page, nothing is cut off: ${scheme}`, async () => {
      const view = await open(options);
      for (const [name, path] of places) {
        await view.goto(base + path);
        await view.locator("h1").first().waitFor({ state: "attached" });
        await shot(view, `${name}-${scheme}`);
        await axe(view, `${name}, ${scheme}`);
        const [wide, have] = await view.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(wide <= have, `${name}, ${scheme}: ${wide} px on ${have}`);
      }
    });
  }

  await post("/api/tasktypes/GenerateTestProject/resume");

  await step("pages of other sites change nothing, and a name of others reads nothing", async () => {
    const elsewhere = createServer((request, response) => response.setHeader("Content-Type", "text/html").end("<h1>Elsewhere</h1>"));
    await new Promise((done) => elsewhere.listen(0, "127.0.0.1", done));
    const context = await browser.newContext();
    contexts.push(context);
    const page = await context.newPage();
    await page.goto(`http://evil.example:${elsewhere.address().port}/`);
    await page.evaluate(async (base) => {
      for (const path of ["/api/tasktypes/Reindex/pause", "/api/backgroundtasks"]) {
        await fetch(base + path, { method: "POST", mode: "no-cors", body: '{"Type": "Reindex"}' }).catch(() => {});
      }
    }, base);
    const form = `${base}/queues/default`;
    await page.evaluate((action) => {
      document.body.innerHTML = `<form method="post" action="${action}"><input name="deed" value="pause"></form>`;
      document.forms[0].submit();
    }, form);
    await until("the answer to the form", () => page.url() === form);
    const types = await (await fetch(`${base}/api/tasktypes`)).json();
    assert.ok(types.Items.length > 0 && types.Items.every((type) => !type.Paused), JSON.stringify(types));
    const queues = await (await fetch(`${base}/api/queues`)).json();
    assert.ok(queues.Items.every((queue) => !queue.Paused), JSON.stringify(queues));
    // The name leads here, as after DNS rebinding: the page would be of this very origin.
    for (const path of ["/", "/api/tasks", "/tasks"]) {
      const answer = await page.goto(`http://evil.example:${new URL(base).port}${path}`);
      assert.equal(answer.status(), 421, path);
    }
    const own = await page.goto(`http://localhost:${new URL(base).port}/`);
    assert.equal(own.status(), 200);
    elsewhere.close();
    elsewhere.closeAllConnections();
  });

  if (process.env.LONGHAUL_BLESS) {
    await step("the README's screenshots are small", async () => {
      const running = await start("Reindex", { ProjectId: project.Result.ProjectId });
      for (const [name, path, colorScheme] of [["overview", "/", "light"], ["task", `/tasks/${running.Id}`, "dark"]]) {
        const view = await open({ colorScheme, viewport: { width: 1120, height: 640 } });
        await view.goto(base + path);
        await view.waitForLoadState("load");
        if (name === "task") await until("a third of it", () => view.locator("#bar").evaluate((bar) => bar.value > 0.3));
        const file = resolve("docs/img", `${name}.png`);
        await view.screenshot({ path: file });
        assert.ok(statSync(file).size < 150_000, `${file} has ${statSync(file).size} bytes`);
      }
    });
  }

  assert.deepEqual(complaints.filter((complaint) => !expected.test(complaint)), [], "errors in the console");
  console.log(`${steps.length} steps; screenshots are in ${artefacts}`);
} finally {
  await browser.close();
  program.kill("SIGTERM");
  await new Promise((done) => program.once("exit", done));
  rmSync(data, { recursive: true, force: true });
}
