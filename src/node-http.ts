/**
 * Node's HTTP. Not `import … from 'node:http'`: that reads every member of the module, and one of them loads undici, for
 * a WebSocket client: a twentieth of a start.
 */
export const { createServer, request, STATUS_CODES } = process.getBuiltinModule('node:http')
