"""CURVE keys as Kubernetes Secrets: one for each role, with just the files of its folder."""

from __future__ import annotations

import base64
from pathlib import Path

from headrace_proto.keys import ROLES, SECRET_FILE, Keyring, Role, public_file

MANIFEST = """\
---
apiVersion: v1
kind: Secret
metadata:
  name: {name}
  labels:
    app.kubernetes.io/part-of: headrace
type: Opaque
data:
{data}
"""


def secret_name(role: Role) -> str:
    """The name under which a role's pods mount its keys."""
    return f"headrace-{role}-keys"


def manifests(folder: Path) -> str:
    """YAML of every role's Secret, in no namespace: `kubectl apply --namespace` says which. Raises UserError."""
    return "".join(_manifest(folder, role) for role in ROLES)


def _manifest(folder: Path, role: Role) -> str:
    Keyring(folder, role)  # says what is missing or damaged
    names = sorted([SECRET_FILE, *map(public_file, ROLES)])
    encoded = {name: base64.b64encode((folder / role / name).read_bytes()).decode() for name in names}
    data = "\n".join(f'  {name}: "{value}"' for name, value in encoded.items())
    return MANIFEST.format(name=secret_name(role), data=data)
