"""Run on the controller: the manual's snippets into own.conf and api-paste.ini. Options of several lines keep them all."""

import pathlib, re
nova = pathlib.Path("/etc/nova")
base = nova / "own.conf.before"
if not base.exists():
    base.write_text((nova / "own.conf").read_text())
    (nova / "paste.before").write_text((nova / "api-paste.ini").read_text())
sections = {}
for text in (base.read_text(), pathlib.Path("/rig/module.conf").read_text()):
    section = "DEFAULT"
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[] ")
        elif "=" in line and not line.startswith("#"):
            name, value = (part.strip() for part in line.split("=", 1))
            lines = sections.setdefault(section, [])
            if name != "available_filters" and name != "driver":
                lines[:] = [one for one in lines if one[0] != name]
            if (name, value) not in lines:
                lines.append((name, value))
(nova / "own.conf").write_text("".join(
    f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in lines) for section, lines in sections.items()))
paste = (nova / "paste.before").read_text()
ours = pathlib.Path("/rig/paste.ini").read_text()
for head in re.findall(r"^\[(?:composite|filter):.*\]$", ours, re.M):
    paste = re.sub(re.escape(head) + r"\n(?:(?!\[).*\n)*", "", paste)
(nova / "api-paste.ini").write_text(paste + "\n" + ours)
