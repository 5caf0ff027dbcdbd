"""What to do about a failed installation, by the words of the tool that failed."""

import re

# In this order: the first that is found is told. Words of pip 23 to 26, uv 0.13, venv and the C library.
_CAUSES = (
    (
        r"No space left on device|Errno 28|os error 28|Disk quota exceeded",
        "the disk is full: free some (the environment takes 3.1 GB, the downloads in the tool's cache about 1 GB), "
        "or put the tool's cache elsewhere (UV_CACHE_DIR, PIP_CACHE_DIR)",
    ),
    (
        r"ensurepip is not available|No module named '?(venv|ensurepip)",
        "this Python comes without its module venv: install it (Debian, Ubuntu: apt install python3-venv), "
        "or uv, which needs none",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate|UnknownIssuer|certificate verify failed",
        "the registry's certificate is not trusted here (a proxy's own?): name its file in SSL_CERT_FILE (uv) or "
        "PIP_CERT (pip)",
    ),
    (
        r"\b(401|403|407) (Client Error|Unauthorized|Forbidden|Proxy)|HTTP status client error \((401|403|407)|"
        r"Tunnel connection failed",
        "the registry or the proxy refuses: look at the address and the login that are set up for it",
    ),
    (
        r"Name or service not known|name resolution|dns error|nodename nor servname|Network is unreachable|"
        r"Connection refused|Connection reset|ConnectTimeout|[Rr]ead ?timed? ?out|operation timed out|"
        r"error sending request|Failed to establish a new connection|Max retries exceeded|IncompleteRead",
        "the registry cannot be reached: is there a network, and does it need a proxy (HTTPS_PROXY) or a mirror "
        "(UV_DEFAULT_INDEX or PIP_INDEX_URL)?",
    ),
    (
        r"unexpected argument|invalid value '.*' for '--|no such option|option --use-feature: invalid choice",
        "this uv or pip is too old: `uv self update`, or `make install INSTALLER=pip`; pip is renewed by "
        "`make clean install`",
    ),
    (
        r"No solution found|No matching distribution|ResolutionImpossible|conflicting dependencies",
        "the pins of constraints.txt do not fit this Python or machine, or the registry lacks one: they are resolved "
        "for Python 3.11 and 3.12 on Linux x86-64 (make install PYTHON=python3.12)",
    ),
    (
        r"Failed building wheel|Failed to build|command '.*(gcc|cc|clang|g\+\+)' failed|metadata-generation-failed",
        "a package has no wheel for this Python or machine and cannot be built: Python 3.11 or 3.12 on Linux x86-64 "
        "needs no compiler (make install PYTHON=python3.12)",
    ),
    (
        r"Permission denied|Errno 13|os error 13",
        "a folder may not be written to: whose are .venv and the tool's cache?",
    ),
)
AGAIN = "`make install` goes on from what is there."


def advice(output: str) -> str:
    """What to do, by what a tool said; "" where its words are not known."""
    return next((told for pattern, told in _CAUSES if re.search(pattern, output)), "")


def unreachable(output: str) -> bool:
    """Whether a tool failed for want of a network."""
    return advice(output).startswith("the registry cannot be reached")
