"""Runs on the host: Dayfly's systemd unit and the lab stack, step by step, a line of JSON for each on a serial port.

Standard library only. A failed step ends the trial, with evidence. Not here: the expected results
(test_debian13_host.py).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import traceback
import tty
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

READY = "http://127.0.0.1:8700/readyz"
READY_SECONDS = 120
COMMAND_SECONDS = 360
SOURCE = "/opt/source"


def run(
    *argv: str, timeout: float = COMMAND_SECONDS, ok: tuple[int, ...] = (0,), given: str = "", **environment: str
) -> str:
    """The output of a command that reads `given`. Raises RuntimeError with both streams unless it ends as `ok`."""
    done = subprocess.run(
        argv,
        env={**os.environ, **environment},
        input=given,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode not in ok:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def dayfly(*argv: str) -> str:
    return run("/opt/dayfly/bin/dayfly", *argv)


def log_in(token: str) -> None:
    """With the first token of the service."""
    run("/opt/dayfly/bin/dayfly", "login", given=token)


def compose(*argv: str) -> str:
    # As deploy/docker/build.sh notes it.
    gid = run("stat", "--dereference", "--format=%g", "/var/run/docker.sock").strip()
    return run(
        *("docker-compose", "--file", f"{SOURCE}/docker-compose.yml", *argv),
        DAYFLY_ENGINE_GID=gid,
        DAYFLY_ACCELERATOR="tcg",
    )


def wait_until_ready() -> str:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(READY, timeout=10) as answer:
                body: str = answer.read().decode()
                return body
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{READY}: {error}") from error
            time.sleep(0.5)


def show(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit."""
    lines = run("systemctl", "show", unit, *(f"--property={name}" for name in names)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def engine_objects() -> list[str]:
    """All objects of Dayfly and the lab stack on the engine, with volumes and networks."""
    containers = run("docker", "ps", "--all", "--format", "container {{.Names}}")
    volumes = run("docker", "volume", "ls", "--format", "volume {{.Name}}")
    networks = run("docker", "network", "ls", "--filter", "type=custom", "--format", "network {{.Name}}")
    return sorted([*containers.splitlines(), *volumes.splitlines(), *networks.splitlines()])


def cluster(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dayfly("cluster", "show", name, "--json"))
    return found


def node_kernel() -> str:
    """The node's own answer, over SSH."""
    return dayfly("cluster", "ssh", "trial", "node01", "--", "uname", "-r").strip()


def node_container() -> dict[str, str]:
    """The node's container: its start, and its control group as the host sees it."""
    (name,) = run("docker", "ps", "--filter", "label=dayfly.role=node", "--format", "{{.Names}}").split()
    pid, started = run("docker", "inspect", "--format", "{{.State.Pid}} {{.State.StartedAt}}", name).split()
    return {"name": name, "started": started, "cgroup": Path(f"/proc/{pid}/cgroup").read_text().strip()}


# --- steps: each returns the facts that are reported


def host() -> dict[str, Any]:
    """The properties of this host."""
    return {
        "uptime": float(Path("/proc/uptime").read_text().split()[0]),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "python": platform.python_version(),
        "systemd": run("systemctl", "--version").split("\n", 1)[0],
        "cgroup": run("stat", "--file-system", "--format=%T", "/sys/fs/cgroup").strip(),
        "failed_units": run("systemctl", "--failed", "--plain", "--no-legend").split("\n")[:-1],
        "engine": json.loads(run("docker", "info", "--format", "{{json .}}")),
        "api": run("docker", "version", "--format", "{{.Server.APIVersion}}").strip(),
        "images": sorted(run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").split()),
        "objects": engine_objects(),
    }


def service() -> dict[str, Any]:
    """Install the unit by the commands in its header, and start it."""
    run("install", "-m", "0644", f"{SOURCE}/deploy/systemd/dayfly.service", "/etc/systemd/system/")
    verified = run("systemd-analyze", "verify", "/etc/systemd/system/dayfly.service")
    run("systemctl", "enable", "--now", "dayfly")
    ready = wait_until_ready()
    log_in(Path("/var/lib/dayfly/operator-token").read_text())
    facts = show("dayfly", "MainPID", "ActiveState", "NRestarts", "ControlGroup")
    lines = Path(f"/proc/{facts['MainPID']}/status").read_text().splitlines()
    wanted = ("Uid", "CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    status = dict(line.split(":\t", 1) for line in lines if line.split(":", 1)[0] in wanted)
    return {"verified": verified, "ready": json.loads(ready), "unit": facts, "status": status}


def doctor() -> dict[str, Any]:
    """Exit code 1 after a failed check, which the report has, too."""
    report = run("/opt/dayfly/bin/dayfly", "doctor", "--json", ok=(0, 1), DAYFLY_ACCELERATOR="tcg")
    return {"report": json.loads(report)}


def create() -> dict[str, Any]:
    dayfly("cluster", "create", "trial", "--image", "bare", "--wait", "--timeout", "5m")
    return {"cluster": cluster("trial"), "kernel": node_kernel(), "node": node_container()}


def restart() -> dict[str, Any]:
    """The service is restarted; the cluster is not."""
    before = node_container()
    run("systemctl", "restart", "dayfly")
    wait_until_ready()
    return {"cluster": cluster("trial"), "kernel": node_kernel(), "before": before, "node": node_container()}


def hibernate() -> dict[str, Any]:
    dayfly("cluster", "hibernate", "trial", "--wait", "--timeout", "5m")
    asleep = cluster("trial")["phase"]
    dayfly("cluster", "resume", "trial", "--wait", "--timeout", "5m")
    return {"asleep": asleep, "cluster": cluster("trial"), "kernel": node_kernel()}


def delete() -> dict[str, Any]:
    dayfly("cluster", "delete", "trial", "--wait", "--timeout", "5m")
    return {"objects": engine_objects()}


def stop() -> dict[str, Any]:
    run("systemctl", "stop", "dayfly")
    return {"unit": show("dayfly", "Result", "ExecMainStatus", "ActiveState")}


def compose_up() -> dict[str, Any]:
    compose("up", "--detach", "--scale", "worker=2")
    ready = json.loads(wait_until_ready())
    log_in(compose("exec", "-T", "api", "cat", "operator-token"))
    listed = compose("ps", "--format", "{{.Service}} {{.State}}").splitlines()
    return {"ready": ready, "services": sorted(listed)}


def compose_cluster() -> dict[str, Any]:
    """A worker in a container creates a cluster, and deletes it."""
    return {"made": create(), "deleted": dayfly("cluster", "delete", "trial", "--wait", "--timeout", "5m")}


def compose_down() -> dict[str, Any]:
    compose("down", "--volumes")
    return {"objects": engine_objects()}


STEPS = (host, doctor, service, create, restart, hibernate, delete, stop, compose_up, compose_cluster, compose_down)


def evidence() -> dict[str, str]:
    """Collect diagnostics; none of them may fail the trial."""
    asked = {
        "journal": "journalctl --no-pager --lines=150 --unit=dayfly --unit=docker --unit=containerd",
        "kernel": "journalctl --no-pager --lines=30 --dmesg",
        "containers": "docker ps --all",
        "clusters": "/opt/dayfly/bin/dayfly cluster show trial",
        "pressure": "cat /proc/loadavg /proc/pressure/cpu /proc/meminfo",
        "stack": f"docker-compose --file {SOURCE}/docker-compose.yml logs --tail 50",
    }
    done = {
        name: subprocess.run(
            ["sh", "-c", f"timeout 60 {command}"],
            env={**os.environ, "DAYFLY_ENGINE_GID": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        ).stdout
        for name, command in asked.items()
    }
    return {name: text[-20_000:] for name, text in done.items()}


def main(port: Path) -> int:
    with port.open("w", encoding="utf-8") as report:
        tty.setraw(report.fileno())

        def say(**line: Any) -> None:
            print(json.dumps(line), file=report, flush=True)

        for step in STEPS:
            began = time.monotonic()
            try:
                facts = step()
            except Exception:
                say(step=step.__name__, seconds=time.monotonic() - began, failed=traceback.format_exc(), **evidence())
                return 1
            say(step=step.__name__, seconds=round(time.monotonic() - began, 1), facts=facts)
        say(step="end", seconds=0, facts={})
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
