#!/usr/bin/env python3
"""An HTTP server on this machine that serves a folder as the data sets' servers do, with the faults of real networks.

    python3 dev/test/data_server.py FOLDER

The port goes into FOLDER/port, every request into FOLDER/requests.log as `PATH RANGE STATUS`. Addresses:
    /api/datasets/REPOSITORY/tree/main[/PATH]     the Hub's list of files, two a page
    /datasets/REPOSITORY/resolve/main/PATH        answered with a redirect to the file, as the Hub does
    anything else                                 a file of FOLDER; Range is honoured

FOLDER/faults.json, read at every request, holds {end of a path: fault}:
    {"cut": N, "times": M}    M times the connection ends after N bytes of the body
    {"corrupt": N}            byte N is another one
    {"status": S, "times": M} M times status S and no file
    {"stall": N}              after N bytes nothing more comes until the fault is taken out
    {"no_range": true}        Range is ignored
"""

import hashlib
import http.server
import json
import os
import sys
import time
import urllib.parse

PAGE = 2
POLL_SECONDS = 0.05
LONGEST_STALL = 60  # seconds


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = ""
    used = {}  # times that a fault was met

    def log_message(self, *arguments):
        pass

    def fault(self):
        """The fault of this path, if it has one left."""
        try:
            with open(os.path.join(self.folder, "faults.json"), encoding="utf-8") as file:
                faults = json.load(file)
        except OSError:
            return {}
        for ending, fault in faults.items():
            if self.path.endswith(ending):
                key = ending + json.dumps(fault)
                self.used[key] = self.used.get(key, 0) + 1
                return fault if self.used[key] <= fault.get("times", sys.maxsize) else {}
        return {}

    def answer(self, status, body=b"", headers=()):
        with open(os.path.join(self.folder, "requests.log"), "a", encoding="utf-8") as file:
            file.write(f"{self.path} {self.headers.get('Range', '-')} {status}\n")
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()

    def do_GET(self):
        path, _, query = self.path.partition("?")
        parts = urllib.parse.unquote(path).strip("/").split("/")
        fault = self.fault()
        if "status" in fault:
            self.answer(fault["status"])
        elif parts[:2] == ["api", "datasets"] and parts[4:6] == ["tree", "main"]:
            self.send_list(parts, query)
        elif parts[0] == "datasets" and parts[3:5] == ["resolve", "main"]:
            target = "/".join(["", "datasets", *parts[1:3], *parts[5:]])
            self.answer(302, headers=[("Location", target)])
        else:
            self.send_file(os.path.join(self.folder, *parts), fault)

    def send_list(self, parts, query):
        top = os.path.join(self.folder, "datasets", *parts[2:4])
        folder = os.path.join(top, *parts[6:])
        if not os.path.isdir(folder):
            self.answer(404)
            return
        first = int(urllib.parse.parse_qs(query).get("cursor", ["0"])[0])
        names = sorted(os.listdir(folder))
        entries = []
        for name in names[first : first + PAGE]:
            path = os.path.join(folder, name)
            entry = {"type": "directory", "path": os.path.relpath(path, top), "size": 0}
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
                entry["type"], entry["size"] = "file", len(content)
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            entries.append(entry)
        headers = [("Content-Type", "application/json")]
        if first + PAGE < len(names):
            here = f"http://{self.headers['Host']}{self.path.partition('?')[0]}"
            headers.append(("Link", f'<{here}?cursor={first + PAGE}>; rel="next"'))
        body = json.dumps(entries).encode()
        self.answer(200, body, headers)
        self.wfile.write(body)

    def send_file(self, path, fault):
        if not os.path.isfile(path):
            self.answer(404)
            return
        with open(path, "rb") as file:
            content = bytearray(file.read())
        if "corrupt" in fault:
            content[fault["corrupt"]] ^= 1
        wanted = self.headers.get("Range")
        if wanted is None or "no_range" in fault:
            body = content
            self.answer(200, body)
        else:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if first >= len(content):
                self.answer(416, headers=[("Content-Range", f"bytes */{len(content)}")])
                return
            body = content[first:]
            self.answer(206, body, [("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")])
        if "cut" in fault:
            self.wfile.write(body[: fault["cut"]])
            self.close_connection = True
        elif "stall" in fault:
            self.wfile.write(body[: fault["stall"]])
            self.wfile.flush()
            until = time.monotonic() + LONGEST_STALL
            while "stall" in self.fault() and time.monotonic() < until:
                time.sleep(POLL_SECONDS)
            self.wfile.write(body[fault["stall"] :])
        else:
            self.wfile.write(body)


def main():
    Handler.folder = sys.argv[1]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        with open(os.path.join(Handler.folder, "port.new"), "w", encoding="utf-8") as file:
            file.write(str(server.server_port))
        os.rename(os.path.join(Handler.folder, "port.new"), os.path.join(Handler.folder, "port"))
        server.serve_forever()


if __name__ == "__main__":
    main()
