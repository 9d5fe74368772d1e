#!/usr/bin/env python3
"""Fetches the source archive of one version of a package from the index that pip is set to.

usage: fetch-sdist.py NAME VERSION OUT
`pip download --no-binary` would run the package's build to learn its metadata; we want only bytes.
"""
import hashlib
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request


def index_url():
    url = os.environ.get("PIP_INDEX_URL")
    if not url:
        asked = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"],
                               capture_output=True, text=True, check=False)
        url = asked.stdout.strip()
    if not url:
        from pip._internal.models.index import PyPI  # pip's own default
        url = PyPI.simple_url
    return url.rstrip("/")


def main():
    name, version, out = sys.argv[1:4]
    page_url = f"{index_url()}/{name}/"
    request = urllib.request.Request(page_url, headers={"Accept": "text/html"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        page = reply.read().decode()
    for link in re.findall(r'href="([^"]+)"', page):
        url, _, fragment = urllib.parse.urljoin(page_url, link).partition("#")
        if url.split("?")[0].endswith(f"-{version}.tar.gz"):
            with urllib.request.urlopen(url, timeout=600) as reply:
                data = reply.read()
            if fragment.startswith("sha256=") and hashlib.sha256(data).hexdigest() != fragment[7:]:
                sys.exit(f"{name} {version}: the archive's hash is wrong")
            with open(out, "wb") as file:
                file.write(data)
            return
    sys.exit(f"{name} {version}: no source archive in the index")


main()
