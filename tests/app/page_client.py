"""What a browser says to Gradio, by httpx: so that a test can also say what no browser would."""

import json
import secrets
from typing import Any

import httpx


class PageClient:
    """One session of one browser."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=60, follow_redirects=False)
        self.session, self.token = secrets.token_hex(6), token
        self.config: dict[str, Any] = self.http.get("/config").json()
        self.components = {component["id"]: component for component in self.config.get("components", [])}

    def event(self, element: str, name: str) -> dict[str, Any]:
        """The event of an element, as config tells it."""
        for dependency in self.config["dependencies"]:
            for target, event in dependency["targets"]:
                if event == name and self.components.get(target, {}).get("props", {}).get("elem_id") == element:
                    return dict(dependency)
        raise KeyError((element, name))

    def join(self, event: dict[str, Any], data: list[Any], event_data: Any = None) -> httpx.Response:
        """Asks for an event."""
        body = {"data": data, "event_data": event_data, "fn_index": event["id"], "session_hash": self.session}
        return self.http.post("/gradio_api/queue/join", json=body)

    def act(self, element: str, name: str, given: dict[str, Any], event_data: Any = None) -> str:
        """Does something as the browser would; all that the server says of it, as text.

        `given`: element -> its value; the token is given by itself, and what is not given is None.
        """
        event = self.event(element, name)
        data = []
        for place in event["inputs"]:
            component = self.components[place]
            value = given.get(component["props"].get("elem_id", ""))
            data.append(self.token if component["type"] == "browserstate" else value)
        response = self.join(event, data, event_data)
        assert response.status_code == 200, response.text
        said = []
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[len("data: ") :]) if line.startswith("data: ") else {}
                said.append(json.dumps(message.get("output"), ensure_ascii=False))
                if message.get("msg") in ("process_completed", "close_stream"):
                    break
        return "\n".join(said)

    def upload(self, name: str, content: bytes) -> list[str]:
        """Uploads a file; the paths that Gradio tells."""
        response = self.http.post("/gradio_api/upload", files={"files": (name, content)})
        assert response.status_code == 200, response.text
        return list(response.json())

    def add(self, name: str, content: bytes) -> str:
        """Uploads and imports a file."""
        [path] = self.upload(name, content)
        return self.act("files", "act", {}, {"act": "uploaded", "files": [{"path": path, "name": name}]})
