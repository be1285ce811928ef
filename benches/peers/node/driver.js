// node driver.js PEER COMMAND TASKS [PRODUCERS]: one step of a workload on the
// empty or filled database DATABASE_URL; its figures are one line of JSON.
//
// setup | fill N | drain N | bulk N P | single N P | latency N

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import pg from "pg";

const [peerName, command, tasksText = "0", producersText = "1"] = process.argv.slice(2);
const [tasks, producers] = [Number(tasksText), Number(producersText)];
const url = process.env.DATABASE_URL;
const peer = await import(`./${peerName}.js`);

const seconds = () => performance.now() / 1000;

function percentiles(values) {
  values.sort((a, b) => a - b);
  const at = (share) => values[Math.round((values.length - 1) * share)] * 1000;
  return { p50_ms: at(0.5), p99_ms: at(0.99) };
}

function peakMib() {
  const line = readFileSync("/proc/self/status", "utf8").split("\n").find((line) => line.startsWith("VmHWM"));
  return Number(line.split(/\s+/)[1]) / 1024;
}

const commands = {
  async setup() {
    await peer.setup(url);
    return {};
  },

  async fill() {
    const producer = await peer.producer(url, 1);
    for (let left = tasks; left > 0; left -= 1000) await producer.bulk(Math.min(left, 1000));
    await producer.close();
    return {};
  },

  async bulk() {
    const producer = await peer.producer(url, producers);
    const began = seconds();
    const each = Math.floor(tasks / producers);
    await Promise.all(
      Array.from({ length: producers }, async () => {
        for (let left = each; left > 0; left -= peer.BULK) await producer.bulk(Math.min(left, peer.BULK));
      }),
    );
    const rate = (each * producers) / (seconds() - began);
    await producer.close();
    return { tasks_per_second: rate };
  },

  async single() {
    const producer = await peer.producer(url, producers);
    // Connections are opened before the clock runs.
    await Promise.all(Array.from({ length: producers }, () => producer.single()));
    const waits = [];
    const began = seconds();
    const each = Math.floor(tasks / producers);
    await Promise.all(
      Array.from({ length: producers }, async () => {
        for (let done = 0; done < each; done++) {
          const sent = seconds();
          await producer.single();
          waits.push(seconds() - sent);
        }
      }),
    );
    const rate = (each * producers) / (seconds() - began);
    await producer.close();
    return { tasks_per_second: rate, ...percentiles(waits) };
  },

  async drain() {
    const client = new pg.Client(url);
    await client.connect();
    let done = 0;
    const all = Promise.withResolvers();
    const began = seconds();
    const stop = await peer.consume(url, "throughput", () => {
      done += 1;
      if (done === tasks) all.resolve();
    });
    await all.promise;
    while (await peer.hasOpen(client)) await sleep(2);
    const rate = tasks / (seconds() - began);
    await stop();
    await client.end();
    return { tasks_per_second: rate, rss_peak_mib: peakMib() };
  },

  async latency() {
    const producer = await peer.producer(url, 1, "latency");
    let begun;
    const stop = await peer.consume(url, "latency", () => begun.resolve(seconds()));
    await sleep(1000);
    const waits = [];
    for (let number = 0; number < tasks + 10; number++) {
      await sleep(20);
      begun = Promise.withResolvers();
      const sent = seconds();
      await producer.single();
      const at = await begun.promise;
      if (number >= 10) waits.push(at - sent);
    }
    await stop();
    await producer.close();
    return percentiles(waits);
  },
};

console.log(JSON.stringify(await commands[command]()));
process.exit(0);
