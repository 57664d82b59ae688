#!/usr/bin/env python3
"""Opens a report in headless Chromium and says in a line of JSON what happened: requests that left the page, console
errors, plots that were drawn, and whether a keyboard gets around. Takes pictures where `--pictures` names a folder.

Playwright comes from PyPI into an environment below `--cache`, which is made once; Chromium is the system's.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1] / "servers"))

from serve import environment  # noqa: E402

REQUIREMENTS = HERE.parent / "requirements.txt"
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.cache:
        python = environment(arguments.cache, REQUIREMENTS, "browser")
        rest = [str(arguments.report)]
        if arguments.pictures:
            rest += ["--pictures", str(arguments.pictures)]
        os.execv(python, [str(python), str(HERE), *rest])
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit(f"there is none of {', '.join(BROWSERS)}; Debian's package is `chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        said = {name: look(browser, arguments, name) for name in ("light", "dark")}
        said["print"] = printed(browser, arguments)
        browser.close()
    print(json.dumps(said))


def opened(browser, report, theme):
    page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme=theme)
    seen = {"requests": [], "errors": []}
    page.on("request", lambda request: seen["requests"].append(request.url))
    page.on("console", lambda message: message.type in ("error", "warning") and seen["errors"].append(message.text))
    page.on("pageerror", lambda error: seen["errors"].append(str(error)))
    page.goto(report.resolve().as_uri())
    page.wait_for_function("document.querySelectorAll('script[data-plot]').length === document.querySelectorAll('.plot[data-drawn]').length", timeout=60_000)
    return page, seen


def look(browser, arguments, theme):
    page, seen = opened(browser, arguments.report, theme)
    own = arguments.report.resolve().as_uri()
    said = {
        "left": [url for url in seen["requests"] if url != own and not url.startswith(("data:", "blob:"))],
        "plots": page.locator("script[data-plot]").count(),
        "drawn": page.locator(".plot .main-svg").evaluate_all("all => new Set(all.map(it => it.closest('.plot').id)).size"),
        "marks": page.locator(".plot").evaluate_all(
            "all => all.map(it => it.querySelectorAll('.bars path, .scatterlayer path.js-line, .points path').length)"
        ),
        "background": page.evaluate("getComputedStyle(document.documentElement).backgroundColor"),
        "overflow": page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"),
    }
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=arguments.pictures / f"report-{theme}.png", full_page=True)
    said["keyboard"] = keyboard(page)
    page.set_viewport_size({"width": 420, "height": 900})
    page.wait_for_timeout(1000)
    said["narrow_overflow"] = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    said["errors"] = seen["errors"]
    page.close()
    return said


def keyboard(page):
    """Where the first stops of the tab key are, and what the keys do there."""
    focused = "document.activeElement.className + ' ' + document.activeElement.tagName + ' ' + document.activeElement.id"
    page.keyboard.press("Tab")
    skip = page.evaluate(focused)
    page.keyboard.press("Tab")
    button = page.evaluate(focused)
    before = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.keyboard.press("Enter")
    after = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    is_open = page.evaluate("document.querySelector('details').open")
    return {"skip": skip, "button": button, "theme_changes": before != after, "opens_figures": is_open}


def printed(browser, arguments):
    page, seen = opened(browser, arguments.report, "dark")
    page.emulate_media(media="print")
    said = {
        "background": page.evaluate("getComputedStyle(document.documentElement).backgroundColor"),
        "navigation": page.evaluate("getComputedStyle(document.querySelector('nav')).display"),
        "bytes": len(page.pdf(format="A4", margin={side: "15mm" for side in ("top", "bottom", "left", "right")})),
    }
    if arguments.pictures:
        page.pdf(path=arguments.pictures / "report.pdf", format="A4")
    said["errors"] = seen["errors"]
    page.close()
    return said


main()
