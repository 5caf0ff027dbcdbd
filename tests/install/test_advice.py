"""Each known failure leads to what to do; the words are those of real runs."""

import pytest

from install.advice import advice

UNREACHABLE = """error: Request failed after 3 retries in 10.5s
  cause: Failed to fetch: https://example.org/whl/cpu/torch/
  cause: client error (Connect)
  cause: dns error
"""
PIP_UNREACHABLE = """WARNING: Retrying after connection broken by 'NewConnectionError(...: Failed to establish a new
connection: [Errno -2] Name or service not known')': /simple/torch/
ERROR: No matching distribution found for torch
"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (UNREACHABLE, "cannot be reached"),
        (PIP_UNREACHABLE, "cannot be reached"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("error: failed to write to the cache\n  cause: No space left on device (os error 28)", "disk is full"),
        ("The virtual environment was not created successfully because ensurepip is not available.", "python3-venv"),
        ("/usr/bin/python3: No module named venv", "python3-venv"),
        ("  x No solution found when resolving dependencies:", "PYTHON=python3.12"),
        ("ERROR: No matching distribution found for torch==2.13.0", "PYTHON=python3.12"),
        ("no such option: --report", "too old"),
        ("error: invalid value 'pylock.toml' for '--format <FORMAT>'", "too old"),
        ("error: unexpected argument '--torch-backend' found", "too old"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] ...", "SSL_CERT_FILE"),
        ("  cause: invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
        ("error: command '/usr/bin/gcc' failed with exit code 1", "needs no compiler"),
        ("error: failed to create directory: Permission denied (os error 13)", "written to"),
        ("something new", ""),
    ],
)
def test_what_to_do(said: str, told: str) -> None:
    assert told in advice(said)
    assert told or advice(said) == ""
