"""Xen's own remus-netbuf-setup, as it is, and what it needs on a host.

Debian does not package the script: it is taken from Debian's source package of Xen when the lab first wants it, and
kept in the lab's cache. The tools are Debian's libnl-utils.
"""

import pathlib
import re
import subprocess
import tarfile

from . import cache, progress

SCRIPT = "/etc/xen/scripts/remus-netbuf-setup"
_IN_SOURCE = "tools/hotplug/Linux/remus-netbuf-setup"
_PACKAGES = "libnl-utils libnl-cli-3-200 libnl-genl-3-200 libnl-nf-3-200 libnl-idiag-3-200".split()
_TOOLS = ("nl-qdisc-list", "nl-qdisc-add", "nl-qdisc-delete")
_LIBRARIES = re.compile(r"/lib/x86_64-linux-gnu/(libnl-[a-z-]*3\.so\.200|libnl-3/cli/qdisc/plug\.so)$")


def _apt(folder, arguments, program="apt-get"):
    ran = subprocess.run([program, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ran.returncode != 0:
        raise RuntimeError(f"{program} {' '.join(arguments[:4])} failed:\n{ran.stdout[-2000:]}")
    return ran.stdout


def _download_source(folder, options):
    """The newest version that can be had: a mirror may lag behind its own lists."""
    known = _apt(folder, ["showsrc", "--only-source", "xen", *options], program="apt-cache")
    for version in reversed(re.findall(r"^Version: (\S+)", known, flags=re.MULTILINE)):
        try:
            return _apt(folder, ["source", "--download-only", "--only-source", f"xen={version}", *options])
        except RuntimeError as error:
            progress.say(str(error).splitlines()[-1])
    raise RuntimeError("no version of the source package xen could be downloaded")


def _source_lists():
    """The machine's own package sources, with source packages in the place of binary ones."""
    etc = pathlib.Path("/etc/apt")
    one_line = [etc / "sources.list", *etc.glob("sources.list.d/*.list")]
    lines = [line for file in one_line if file.exists() for line in file.read_text().splitlines()]
    stanzas = "\n\n".join(file.read_text() for file in etc.glob("sources.list.d/*.sources"))
    return ("".join(re.sub(r"^deb\b", "deb-src", line) + "\n" for line in lines),
            re.sub(r"^Types:.*", "Types: deb-src", stanzas, flags=re.MULTILINE))


def _fetch_script(folder):
    (folder / "parts").mkdir()
    (folder / "lists/partial").mkdir(parents=True)
    one_line, stanzas = _source_lists()
    (folder / "parts/lab.list").write_text(one_line)
    (folder / "parts/lab.sources").write_text(stanzas)
    options = ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={folder}/parts",
               "-o", f"Dir::State::lists={folder}/lists", "-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1",
               "-o", "Acquire::Retries=3",
               "-o", f"Dir::Cache::pkgcache={folder}/packages.bin", "-o", f"Dir::Cache::srcpkgcache={folder}/sources.bin"]
    with progress.phase("downloading Xen's source package, for a script that Debian does not package"):
        # Without --error-on a list that could not be fetched is a success, and what is missing then fails later.
        _apt(folder, ["update", "--error-on=any", *options])
        _download_source(folder, options)
        (tarball,) = folder.glob("xen_*.orig.tar.*z*")
        with tarfile.open(tarball) as source:
            member = next(each for each in source if each.name.endswith(_IN_SOURCE))
            script = source.extractfile(member).read()
    return script


def _build(folder):
    work = folder / "work"
    work.mkdir()
    (folder / "remus-netbuf-setup").write_bytes(_fetch_script(work))
    subprocess.run(["rm", "-rf", work], check=True)
    tree = folder / "tree"
    tree.mkdir()
    _apt(folder, ["download", *_PACKAGES])
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
        package.unlink()


def fetch():
    """To be called before a lab is up: inside, the driver reaches nothing but the lab."""
    return cache.built("xen-netbuf-script", [pathlib.Path(__file__)], _build)


def install(host):
    """Puts the script where Xen would look for it, with its tools. After fetch."""
    made = fetch()
    host.put(SCRIPT, (made / "remus-netbuf-setup").read_bytes(), mode="755")
    for file in sorted((made / "tree").rglob("*")):
        if file.name in _TOOLS:
            host.put(f"/usr/sbin/{file.name}", file.read_bytes(), mode="755")
        elif found := _LIBRARIES.search(str(file)):
            host.put(f"/usr/lib/x86_64-linux-gnu/{found.group(1)}", file.read_bytes())
    # Debian's libnl-cli looks for its modules in another folder than the one where Debian installs them.
    host.sh("ln -sfn libnl-3 /usr/lib/x86_64-linux-gnu/libnl")
