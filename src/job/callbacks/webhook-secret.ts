const prefix = 'whsec_'
const bytesMin = 24
const bytesMax = 64

/** The form of a signing key, for messages. */
export const webhookSecretForm = `${prefix} and the Base64 of ${bytesMin} to ${bytesMax} bytes`

/** Whether a text is a signing key of Standard Webhooks: `whsec_` and the Base64 of 24 to 64 random bytes. */
export const isWebhookSecret = (text: string): boolean => {
  const encoded = text.slice(prefix.length)
  if (!text.startsWith(prefix) || !/^[A-Za-z0-9+/]+={0,2}$/.test(encoded) || encoded.length % 4 !== 0) return false
  const bytes = encoded.length / 4 * 3 - (encoded.length - encoded.replaceAll('=', '').length)
  return bytes >= bytesMin && bytes <= bytesMax
}

/** The signing key of these bytes. */
export const toWebhookSecret = (base64: string): string => prefix + base64
