"""Asks a running `dcsearch serve` by its API: python examples/ask_the_server.py PHRASE [URL]."""

import sys

import httpx


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/ask_the_server.py PHRASE [URL]")
    phrase, *url = sys.argv[1:]
    with httpx.Client(base_url=url[0] if url else "http://127.0.0.1:8000", timeout=60) as server:
        response = server.get("/api/v1/search", params={"q": phrase, "limit": 5})
        if response.is_error:
            sys.exit(response.json()["error"])
        answer = response.json()
        for result in answer["results"]:
            region = result["regions"][0]
            box = ", ".join(f"{edge:.0f}" for edge in region["box"])
            print(f"{result['rank']}. {result['path']} at ({box}): {region['caption']}")
        if answer["results"]:
            best = answer["results"][0]
            edges = ",".join(f"{edge:g}" for edge in best["regions"][0]["box"])
            alike = server.get(
                "/api/v1/similar", params={"photo": best["id"], "box": edges, "limit": 1}
            ).json()
            for result in alike["results"]:
                print(f"most like the first: {result['path']}")


if __name__ == "__main__":
    main()
