"""Small pages that tell a browser how a sign-in went; they need no script."""

import html

from aiohttp import web

from tokenproxy.admin.answers import answer

PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <title>{title} - tokenproxy</title>
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  {links}
</head>
<body>
  <main>
    <h1>{title}</h1>
    {text}
  </main>
</body>
</html>
"""
OURS = """<link rel="icon" href="/page/favicon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/page/page.css">
  <link rel="stylesheet" href="/page/notice.css">"""
BACK = '<p><a href="/">Back to the status page</a></p>'


def notice(status: int, title: str, *sentences: str, beside_the_page: bool = False) -> web.Response:
    """Sentences, shown as they are; `beside_the_page` it has a style, and a way back to it."""
    shown = [f"<p>{html.escape(each)}</p>" for each in sentences]
    if beside_the_page:
        shown.append(BACK)
    links = OURS if beside_the_page else ""
    body = PAGE.format(title=html.escape(title), links=links, text="\n    ".join(shown))
    return answer(body.encode(), "text/html; charset=utf-8", status)
