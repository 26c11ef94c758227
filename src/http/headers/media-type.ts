/** The type and subtype of a Content-Type in small letters, without its parameters (RFC 9110, 8.3.1). */
export const mediaTypeOf = (contentType: string): string => contentType.split(';', 1)[0]?.trim().toLowerCase() ?? ''
