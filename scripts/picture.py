"""Draws what a command prints as an SVG of a terminal.

    ballast demo 2>&1 | python3 scripts/picture.py "ballast demo" > docs/demo.svg
"""

import html
import sys
import textwrap

COLUMNS, CHAR_WIDTH, LINE_HEIGHT, MARGIN = 100, 7.8, 18, 16


def main():
    lines = [f"$ {sys.argv[1]}"]
    for line in sys.stdin.read().rstrip().split("\n"):
        lines += textwrap.wrap(line, COLUMNS, drop_whitespace=False) or [""]
    width, height = COLUMNS * CHAR_WIDTH + 2 * MARGIN, len(lines) * LINE_HEIGHT + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" role="img">')
    print(f"<title>{html.escape(sys.argv[1])} in a terminal</title>")
    print('<rect width="100%" height="100%" rx="8" fill="#1b1f24"/>')
    print('<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13" fill="#d8dee4" xml:space="preserve">')
    for idx, line in enumerate(lines):
        y = MARGIN + idx * LINE_HEIGHT + 13
        print(f'<text x="{MARGIN}" y="{y}">{html.escape(line)}</text>')
    print("</g>\n</svg>")


main()
