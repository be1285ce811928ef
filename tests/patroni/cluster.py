"""Three PostgreSQL servers under Patroni, with etcd and HAProxy, on loopback."""

import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import psycopg

USER = "postgres"
PASSWORD = "only-for-tests"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait(what, ask, seconds=120, pause=0.1):
    """Polls until `ask` returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            answer = ask()
        except (OSError, psycopg.Error, urllib.error.URLError, ValueError):
            answer = None
        if answer:
            return answer
        time.sleep(pause)
    raise TimeoutError(f"waited {seconds} s in vain for {what}")


class Node:
    """One server and its Patroni."""

    def __init__(self, cluster, number):
        self.cluster, self.name = cluster, f"node{number}"
        self.port, self.api = free_port(), free_port()
        self.directory = cluster.directory / self.name
        self.process = None

    def write_configuration(self):
        self.directory.mkdir()
        settings = {
            "scope": "longhaul",
            "name": self.name,
            "restapi": {"listen": f"127.0.0.1:{self.api}", "connect_address": f"127.0.0.1:{self.api}"},
            "etcd3": {"host": f"127.0.0.1:{self.cluster.etcd_port}"},
            "bootstrap": {
                "dcs": {
                    "ttl": 20,
                    "loop_wait": 1,
                    "retry_timeout": 3,
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 100}},
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.directory / "data"),
                "bin_dir": self.cluster.programs,
                "pgpass": str(self.directory / "pgpass"),
                "pg_hba": ["host all all 127.0.0.1/32 md5", "host replication all 127.0.0.1/32 md5"],
                "authentication": {
                    "superuser": {"username": "postgres", "password": PASSWORD},
                    "replication": {"username": "replicator", "password": PASSWORD},
                    "rewind": {"username": "rewinder", "password": PASSWORD},
                },
                "parameters": {"unix_socket_directories": str(self.directory), "wal_log_hints": "on"},
            },
        }
        # JSON is YAML.
        self.configuration.write_text(json.dumps(settings))
        self.cluster.hand_over(self.directory)

    @property
    def configuration(self):
        return self.directory / "patroni.yml"

    def start(self):
        log = (self.directory / "patroni.log").open("ab")
        self.process = subprocess.Popen(
            [self.cluster.tools / "bin/patroni", self.configuration],
            stdout=log,
            stderr=log,
            user=USER,
            group=USER,
            extra_groups=[],
            env={"PATH": os.environ["PATH"], "HOME": str(self.directory)},
            cwd=self.directory,
            start_new_session=True,
        )

    def connect(self):
        return self.connect_to("postgres")

    def connect_to(self, database):
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=PASSWORD,
            dbname=database,
            connect_timeout=2,
            autocommit=True,
        )

    def is_primary(self):
        """Whether it takes writes, as its Patroni says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.api}/primary", timeout=2) as answer:
            return answer.status == 200

    def processes(self):
        """Patroni, the postmaster and its children: those that this test started."""
        found = [self.process.pid] if self.process else []
        pid_file = self.directory / "data/postmaster.pid"
        if pid_file.exists():
            postmaster = int(pid_file.read_text().split()[0])
            children = pathlib.Path(f"/proc/{postmaster}/task/{postmaster}/children")
            if children.exists():
                found += [postmaster, *map(int, children.read_text().split())]
        return found

    def signal(self, number):
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        if number == signal.SIGKILL:
            self.process.wait()
            self.process = None


class Cluster:
    """The servers, and what they need."""

    def __init__(self, tools):
        self.tools = pathlib.Path(tools).resolve()
        newest = max(pathlib.Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name))
        self.programs = str(newest / "bin")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="longhaul-patroni-"))
        self.etcd_port = free_port()
        self.nodes = [Node(self, number) for number in (1, 2, 3)]
        self.helpers = []
        self.hand_over(self.directory)

    def hand_over(self, path):
        shutil.chown(path, USER, USER)
        for child in path.iterdir():
            shutil.chown(child, USER, USER)

    def run_beside(self, name, arguments):
        log = (self.directory / f"{name}.log").open("ab")
        self.helpers.append(subprocess.Popen(arguments, stdout=log, stderr=log, start_new_session=True))

    def start(self):
        client = f"http://127.0.0.1:{self.etcd_port}"
        peer = f"http://127.0.0.1:{free_port()}"
        self.run_beside(
            "etcd",
            ["etcd", "--name=one", f"--data-dir={self.directory}/etcd", f"--listen-client-urls={client}",
             f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
             f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=one={peer}"],
        )  # fmt: skip
        wait("etcd", lambda: socket.create_connection(("127.0.0.1", self.etcd_port), 1))
        for node in self.nodes:
            node.write_configuration()
        self.nodes[0].start()
        wait("the first primary", self.nodes[0].is_primary)
        for node in self.nodes[1:]:
            node.start()
        self.wait_for_members()

    def start_haproxy(self):
        port = free_port()
        servers = "\n".join(
            f"  server {node.name} 127.0.0.1:{node.port} check port {node.api}" for node in self.nodes
        )
        configuration = self.directory / "haproxy.cfg"
        configuration.write_text(
            f"""defaults
  mode tcp
  timeout connect 2s
  timeout client 10m
  timeout server 10m
listen primary
  bind 127.0.0.1:{port}
  option httpchk GET /primary
  http-check expect status 200
  default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""
        )
        self.run_beside("haproxy", ["haproxy", "-db", "-f", str(configuration)])
        address = f"postgres://postgres:{PASSWORD}@127.0.0.1:{port}/tasks"


        def leads_to_the_primary():
            with psycopg.connect(address.replace("/tasks", "/postgres"), connect_timeout=2) as connection:
                return connection.execute("SELECT NOT pg_is_in_recovery()").fetchone()[0]

        # It takes every server for a primary until it has checked it twice.
        wait("HAProxy to know the primary", lambda: all(leads_to_the_primary() for _ in range(9)))
        return address

    def address(self):
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgres://postgres:{PASSWORD}@{hosts}/tasks?target_session_attrs=read-write"

    def primary(self, among=None):
        def find():
            for node in among or self.nodes:
                try:
                    if node.process and node.is_primary():
                        return node
                except (OSError, urllib.error.URLError):
                    continue
            return None

        return wait("a primary", find, pause=0.02)

    def wait_for_members(self):
        """Until all stream, one of them synchronously."""

        def complete():
            with self.primary().connect() as connection:
                states = connection.execute("SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'").fetchall()
            kinds = [state for (state,) in states]
            return len(kinds) == 2 and (not self.is_synchronous() or "sync" in kinds)

        wait("all servers to stream", complete, seconds=180)

    def is_synchronous(self):
        return self.configured()["synchronous_mode"]

    def configured(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.primary().api}/config", timeout=5) as answer:
            return json.load(answer)

    def ask_patroni(self, method, path, body):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.primary().api}{path}",
            method=method,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def stop(self):
        for node in self.nodes:
            if node.process:
                node.signal(signal.SIGCONT)
                node.signal(signal.SIGKILL)
        for helper in self.helpers:
            helper.kill()
            helper.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


assert pwd.getpwnam(USER)
