"""Runs aws commands one after the other in one interpreter.

Reads one JSON object a line: args, and env to add for this command. Writes one a
line: Code, Out, Err. It is the installed AWS CLI (version 1) itself; only starting
Python and reading the service models for each of a hundred commands is left out.
"""

import contextlib
import io
import json
import os
import sys
import traceback
import unittest.mock

import awscli.clidriver

MODELS = awscli.clidriver.create_clidriver().session.get_component("data_loader")


def run(args, env):
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), unittest.mock.patch.dict(os.environ, env):
        try:
            driver = awscli.clidriver.create_clidriver()
            driver.session.register_component("data_loader", MODELS)
            code = driver.main(args)
        except SystemExit as e:
            code = e.code
        except Exception:
            traceback.print_exc()
            code = 255
    texts = []
    for f in (out, err):
        f.flush()
        texts.append(f.buffer.getvalue().decode("utf-8"))
    return {"Code": code or 0, "Out": texts[0], "Err": texts[1]}


for line in sys.stdin:
    command = json.loads(line)
    print(json.dumps(run(command["args"], command["env"])), flush=True)
