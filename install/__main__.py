"""Makes or completes `.venv`: says what it brings and how far it is; with uv where that is on PATH, else with pip.

Run: python -m install llm-bin pdf trackers bench dev   (extras of pyproject.toml; `make install` names them)
"""

import sys


def main() -> None:
    """Refuses an old Python in plain words, then installs."""
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit(
            "install: Python >= 3.11 is needed, {} is {}.{}. Name another: make install PYTHON=python3.12\n"
            "(Debian, Ubuntu: apt install python3 python3-venv; with uv: uv python install 3.12, then "
            'PYTHON="$(uv python find 3.12)")'.format(sys.executable, *sys.version_info[:2])
        )
    from install.command import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
