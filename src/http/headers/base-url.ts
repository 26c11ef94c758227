import type { FastifyRequest } from 'fastify'

type Addressed = Pick<FastifyRequest, 'protocol' | 'host' | 'originalUrl' | 'socket'>

const addressOf = ({ localAddress = '', localPort = 0, localFamily }: FastifyRequest['socket']): string =>
  `${localFamily === 'IPv6' ? `[${localAddress}]` : localAddress}:${localPort}`

/**
 * What the absolute URLs in a response begin with: PUBLIC_URL, otherwise the origin that the request is addressed to
 * (RFC 9112, 3.3). A request without a usable host, like many of HTTP/1.0, gets the address of its connection.
 */
export const baseUrlOf = ({ protocol, host, originalUrl, socket }: Addressed, publicUrl: string | null): string => {
  if (publicUrl !== null) return publicUrl
  const authority = originalUrl.startsWith('/') ? host : URL.parse(originalUrl)?.host ?? ''
  const origin = `${protocol}://${authority}`
  return authority !== '' && URL.canParse(origin) ? origin : `${protocol}://${addressOf(socket)}`
}
