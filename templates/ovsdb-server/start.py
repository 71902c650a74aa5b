"""Makes the database with its one row, unless it is there from before, and becomes its server."""

import os
import subprocess
from pathlib import Path

DATABASE = Path("/etc/openvswitch/conf.db")
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
ROW = '["Open_vSwitch", {"op": "insert", "table": "Open_vSwitch", "row": {}}]'

Path("/run/openvswitch").mkdir(exist_ok=True)
if not DATABASE.exists():
    new = DATABASE.with_suffix(".new")
    new.unlink(missing_ok=True)
    subprocess.run(["ovsdb-tool", "create", new, SCHEMA], check=True)
    subprocess.run(["ovsdb-tool", "transact", new, ROW], check=True, stdout=subprocess.DEVNULL)
    new.rename(DATABASE)
remotes = ("--remote=punix:/run/openvswitch/db.sock", "--remote=db:Open_vSwitch,Open_vSwitch,manager_options")
os.execvp("ovsdb-server", ["ovsdb-server", str(DATABASE), *remotes, "--pidfile", "-vsyslog:off", "-vconsole:info"])
