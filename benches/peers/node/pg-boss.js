// pg-boss; settings: localConcurrency 4, batchSize 500, burst while batches are
// full; for latency LISTEN/NOTIFY and batches of one.

import { PgBoss } from "pg-boss";

/** Jobs of one insert. */
export const BULK = 1000;

const QUEUE = "noop";

function boss(url, options) {
  const boss = new PgBoss({ connectionString: url, schedule: false, ...options });
  boss.on("error", (error) => console.error(error));
  return boss;
}

export async function setup(url) {
  const setting = boss(url, { supervise: false });
  await setting.start();
  await setting.createQueue(QUEUE);
  await setting.createQueue("latency", { notify: true });
  await setting.stop({ graceful: false });
}

export async function producer(url, connections, aim) {
  const producing = boss(url, { max: connections, supervise: false, migrate: false });
  await producing.start();
  const queue = aim === "latency" ? "latency" : QUEUE;
  return {
    bulk: (count) => producing.insert(QUEUE, Array.from({ length: count }, () => ({ data: {} }))),
    single: () => producing.send(queue, {}),
    close: () => producing.stop({ graceful: false }),
  };
}

export async function consume(url, aim, onJob) {
  const fast = aim === "throughput";
  const consuming = boss(url, { max: 10, migrate: false, useListenNotify: !fast });
  await consuming.start();
  const options = fast
    ? { localConcurrency: 4, batchSize: 500, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }
    : { localConcurrency: 1, batchSize: 1, pollingIntervalSeconds: 0.5 };
  await consuming.work(fast ? QUEUE : "latency", options, async (jobs) => {
    for (const _ of jobs) onJob();
  });
  return () => consuming.stop({ graceful: false });
}

export async function hasOpen(client) {
  const { rows } = await client.query("SELECT EXISTS (SELECT FROM pgboss.job WHERE state < 'completed') AS open");
  return rows[0].open;
}
