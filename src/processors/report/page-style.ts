/** The style sheet of the report's page: light and dark, screen and paper. */
export const pageStyle = `
:root { color-scheme: light dark; --text: #1b1f24; --soft: #57606a; --line: #d8dee4; --page: #f6f8fa; --card: #fff;
  --bar: #0969da; --succeeded: #1a7f37; --failed: #cf222e; --running: #0969da; --queued: #8c959f }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #9ea7b3; --line: #30363d; --page: #0d1117;
  --card: #161b22; --bar: #4493f8; --succeeded: #3fb950; --failed: #f85149; --running: #4493f8; --queued: #8b949e } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 70rem; margin: 0 auto; padding: 2rem 1rem 4rem }
h1 { margin: 0 0 1rem; font-size: 1.75rem; line-height: 1.2 }
h2 { margin: 0 0 .75rem; font-size: 1.125rem }
dl, dd, p { margin: 0 }
dt, p { color: var(--soft) }
.facts { display: grid; gap: .25rem; margin-bottom: 1.5rem; font-size: .9375rem }
.facts div { display: flex; flex-wrap: wrap; gap: 0 .75rem }
.facts dt { min-width: 7rem }
.tiles { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)) }
.tiles div, section { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem 1.25rem }
.tiles dt { font-size: .875rem }
.tiles dd { font-size: 1.75rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums }
section { margin-top: 1rem }
.scroll { overflow-x: auto }
table { width: 100%; border-collapse: collapse; font-size: .9375rem }
th, td { padding: .4rem .75rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: middle }
tbody tr:last-child > * { border-bottom: 0 }
thead th { color: var(--soft); font-size: .8125rem; font-weight: 600; white-space: nowrap }
tbody th { font-weight: 500; overflow-wrap: anywhere; min-width: 9rem }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.bar { width: 40%; min-width: 6rem }
.bar span { display: block; height: .625rem; min-width: 1px; border-radius: .3125rem; background: var(--bar) }
.bar .succeeded { background: var(--succeeded) } .bar .failed { background: var(--failed) }
.bar .running { background: var(--running) } .bar .queued { background: var(--queued) }
@media print { body { background: none } section, .tiles div { break-inside: avoid } .bar span { print-color-adjust: exact } }
`
