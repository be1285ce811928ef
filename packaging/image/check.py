"""The Dockerfile, what is left out of its context, and the Compose file against the program."""

import re
import shlex
import sys
import tomllib

import settings
import yaml

ROOT = settings.ROOT
wrong = []


def expect(what, holds):
    if not holds:
        wrong.append(what)


dockerfile = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
final = dockerfile.rsplit("\nFROM ", 1)[1]
user = re.search(r"^USER (\S+)", final, re.M)[1]
expect("USER is numeric and not root", re.fullmatch(r"[1-9]\d+:[1-9]\d+", user))
chart = (ROOT / "packaging/helm/longhaul/templates/_helpers.tpl").read_text()
expect("the chart runs as the image's user", f"runAsUser: {user.split(':')[0]}" in chart)
for name, image in re.findall(r"^ARG (\w+)_IMAGE=(.*)", dockerfile, re.M):
    pinned = re.search(r"@sha256:[0-9a-f]{64}$|:\d+\.\d+(\.\d+)?(-|$)", image)
    expect(f"the base {image} is of an exact version", pinned)
toolchain = re.search(r"^ARG RUST_IMAGE=rust:(\d+)\.(\d+)", dockerfile, re.M)
oldest = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
expect(f"the toolchain is {oldest} or later", tuple(map(int, toolchain.groups())) >= tuple(map(int, oldest.split("."))))
environment = dict(re.findall(r"(\w+)=(\S+)", re.search(r"^ENV (.*)", final, re.M)[1]))
for variable, value in environment.items():
    expect(f"a command reads {variable}", variable in settings.VARIABLES)
    expect(f"the port of {variable} is exposed", value.split(":")[1] in re.search(r"^EXPOSE (.*)", final, re.M)[1].split())
expect("nothing makes the image open by itself", not re.search(r"^(ENV|CMD|ENTRYPOINT).*(OPEN_TO_ALL|open-to-all)", final, re.M))
expect("the health check asks the program", 'CMD ["longhaul", "health"]' in final)

# What .dockerignore lets through has every member of the workspace and all that is copied.
kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
members = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["members"]
needed = {member.split("/")[0] for member in members} | {"Cargo.toml", "Cargo.lock", "docs", "migrations", "samples"}
needed |= set(re.search(r"^COPY (LICENSE.*) \S+$", final, re.M)[1].split())
expect(f".dockerignore keeps {sorted(needed - set(kept))}", needed <= set(kept))
expect(".dockerignore keeps nothing that is not there", all((ROOT / path).exists() for path in kept))

services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
ours = {name: service for name, service in services.items() if "build" in service}
for name, service in ours.items():
    command = service["command"]
    for fault in settings.unknown(command, service.get("environment", {})):
        wrong.append(f"docker-compose.yml: {name}: {fault}")
    words = shlex.join(command)
    for volume in service.get("volumes", []):
        expect(f"{name}: {volume} is there", (ROOT / volume.split(":")[0]).exists())
    if "http://" in words:
        host = re.search(r"http://([\w-]+)", words)[1]
        allowed = services[host]["environment"].get("LONGHAUL_ALLOWED_HOSTS", "").split(",")
        expect(f"{name}: {host} answers to that name", host in allowed)
expect("a profile `demo` is there", any(service.get("profiles") == ["demo"] for service in ours.values()))
for service in services.values():
    for port in service.get("ports", []):
        expect(f"{port} is published on loopback", port.startswith("127.0.0.1:"))

for line in wrong:
    print(f"it does not hold: {line}", file=sys.stderr)
if wrong:
    sys.exit(1)
print(f"image: the Dockerfile and {len(services)} services of the Compose file are as they should be")
