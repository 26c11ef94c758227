const references: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
const escape = (text: string): string => text.replace(/[&<>"]/g, character => references[character] ?? '')

/** `tokenCommand`: what prints a token for a local service; null where nothing can be said about it. */
export type PageHtmlNeeds = { version: string, modules: readonly string[], tokenCommand: string | null }

/** The document of the page. Its references are relative, since a proxy may serve it under the path of PUBLIC_URL. */
export const toPageHtml = ({ version, modules, tokenCommand }: PageHtmlNeeds): string => {
  const toReference = (name: string): string => `ui/${version}/${name}`
  const [main = ''] = modules
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Jobs</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="${toReference('ui/icon.svg')}">
<link rel="stylesheet" href="${toReference('ui/libraries/uplot/uPlot.min.css')}">
<link rel="stylesheet" href="${toReference('ui/page.css')}">
<script type="module" src="${toReference(main)}"></script>
${modules.slice(1).map(name => `<link rel="modulepreload" href="${toReference(name)}">`).join('\n')}
</head>
<body${tokenCommand === null ? '' : ` data-token-command="${escape(tokenCommand)}"`}>
<div id="page"><noscript>This page needs JavaScript.</noscript></div>
</body>
</html>
`
}
