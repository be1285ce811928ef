// graphile-worker; settings: concurrentJobs 100, localQueue 1000,
// completeJobBatchDelay 0 (its performance page, tried around), for latency
// without the local queue and the batching, which delay.

import { Logger, makeWorkerUtils, run, runMigrations } from "graphile-worker";
import pg from "pg";

/** Jobs of one addJobs. */
export const BULK = 5000;

const logger = new Logger(() => () => {});
const TASK = "noop";

export async function setup(url) {
  await runMigrations({ connectionString: url, logger });
}

export async function producer(url, connections) {
  const pgPool = new pg.Pool({ connectionString: url, max: connections });
  const utils = await makeWorkerUtils({ pgPool, logger });
  return {
    bulk: (count) => utils.addJobs(Array.from({ length: count }, () => ({ identifier: TASK, payload: {} }))),
    single: () => utils.addJob(TASK, {}),
    async close() {
      await utils.release();
      await pgPool.end();
    },
  };
}

export async function consume(url, aim, onJob) {
  const worker =
    aim === "throughput"
      ? { concurrentJobs: 100, localQueue: { size: 1000 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }
      : { concurrentJobs: 10 };
  const pgPool = new pg.Pool({ connectionString: url, max: 20 });
  const runner = await run({
    pgPool,
    logger,
    noHandleSignals: true,
    taskList: { [TASK]: async () => onJob() },
    preset: { worker },
  });
  return () => runner.stop();
}

export async function hasOpen(client) {
  const { rows } = await client.query("SELECT EXISTS (SELECT FROM graphile_worker._private_jobs) AS open");
  return rows[0].open;
}
