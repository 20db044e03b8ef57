"""The style sheet of the report: light, dark, phone and print."""

STYLE_SHEET = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --card: #ffffff; --wash: #f5f7f9; --ink: #18222d; --muted: #51606f;
  --line: #dbe1e7; --accent: #0b5f8a; --good: #1d7348; --bad: #b3261e; --wait: #8a5a00;
  --series-1: #0b6fa4; --series-2: #c8560f; --series-3: #23845b; --series-4: #9b4a97;
  --series-5: #a88600; --series-6: #4f6bbd; --series-7: #b03a5b; --series-8: #5f6b76;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #11171d; --card: #171e26; --wash: #1c2530; --ink: #e6ebf0; --muted: #a3b0bd;
    --line: #313d49; --accent: #6fb9e3; --good: #63c493; --bad: #ff8a80; --wait: #e8b64c;
    --series-1: #58b0e3; --series-2: #f0935a; --series-3: #5ec795; --series-4: #d18bce;
    --series-5: #e0c04c; --series-6: #94a9f0; --series-7: #ee8aa6; --series-8: #a9b4be;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 48px 0 4px; padding-top: 14px;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 24px 0 8px; }
p { margin: 8px 0; max-width: 75ch; overflow-wrap: anywhere; }
.under { color: var(--muted); margin: 0 0 12px; }
.status { display: inline-block; font-weight: 600; border: 1px solid currentColor;
  border-radius: 999px; padding: 1px 12px; font-size: .9rem; }
.completed { color: var(--good); }
.failed { color: var(--bad); }
.running { color: var(--wait); }
.reason { border-left: 4px solid var(--bad); background: var(--wash); padding: 10px 14px;
  margin: 14px 0; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0 0; padding: 0;
  list-style: none; }
.tiles li { flex: 1 1 150px; max-width: 300px; margin: 0; background: var(--wash);
  border-radius: 8px; padding: 12px 14px; min-width: 0; }
.tiles span { display: block; overflow-wrap: anywhere; }
.name, .more { color: var(--muted); font-size: .85rem; line-height: 1.35; }
.value { font-size: 1.45rem; font-weight: 650; line-height: 1.3;
  font-variant-numeric: tabular-nums; }
.figures { display: grid; gap: 16px; margin: 16px 0;
  grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); }
.small { grid-template-columns: repeat(auto-fill, minmax(min(210px, 100%), 1fr)); gap: 12px; }
figure { margin: 0; min-width: 0; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: 12px 12px 8px; break-inside: avoid; }
figure.wide { grid-column: 1 / -1; }
figcaption { font-weight: 600; font-size: .95rem; margin-bottom: 6px; overflow-wrap: anywhere; }
.small figcaption { font-size: .85rem; }
figure p { color: var(--muted); font-size: .85rem; margin: 6px 0 2px; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: inherit; }
dl { margin: 14px 0; font-size: .95rem; }
dl div { display: grid; grid-template-columns: 240px 1fr; gap: 0 20px; padding: 4px 0; }
dl.short { display: grid; gap: 0 36px;
  grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); }
dl.short div { grid-template-columns: 1fr auto; border-bottom: 1px solid var(--line); }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
dl.short dd { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: 8px 0; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: 5px 10px; text-align: left; vertical-align: top; }
td { white-space: nowrap; }
td.text { white-space: normal; max-width: 34em; overflow-wrap: break-word; }
td.text:first-child { min-width: 11em; }
th { background: var(--wash); font-weight: 600; vertical-align: bottom; }
tbody tr + tr td { border-top: 1px solid var(--line); }
.right { text-align: right; font-variant-numeric: tabular-nums; }
ul.plain { padding-left: 20px; margin: 8px 0; max-width: 75ch; }
li { margin: 4px 0; }
details { margin: 12px 0; }
summary { cursor: pointer; color: var(--accent); font-weight: 600; padding: 4px 0; }
pre, code { font: .85rem/1.45 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
pre { background: var(--wash); border-radius: 8px; padding: 12px 16px; overflow-x: auto; }
code { overflow-wrap: anywhere; }
.note { color: var(--muted); font-size: .88rem; }
footer { margin-top: 48px; color: var(--muted); font-size: .85rem; }
@media (max-width: 600px) {
  main { padding: 20px 14px 40px; }
  h1 { font-size: 1.5rem; }
  dl:not(.short) div { grid-template-columns: 1fr; }
  .tiles li { flex-basis: 40%; max-width: none; }
}
@media print {
  :root {
    --paper: #fff; --card: #fff; --wash: #f2f4f6; --ink: #000; --muted: #3d4852;
    --line: #c8d0d8; --accent: #000; --good: #1d7348; --bad: #b3261e; --wait: #8a5a00;
    --series-1: #0b6fa4; --series-2: #c8560f; --series-3: #23845b; --series-4: #9b4a97;
    --series-5: #a88600; --series-6: #4f6bbd; --series-7: #b03a5b; --series-8: #5f6b76;
  }
  body { font-size: 11pt; }
  main { max-width: none; padding: 0; }
  .figures { grid-template-columns: repeat(3, 1fr); }
  .small { grid-template-columns: repeat(4, 1fr); }
  h2, h3 { break-after: avoid; }
  .tiles li, tr { break-inside: avoid; }
  .scroll { overflow: visible; } pre { white-space: pre-wrap; }
  details:not([open]) { display: none; }
}
"""
