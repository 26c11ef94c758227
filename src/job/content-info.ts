/** The type and name of result bytes, as the worker declares them with the first. */
export type ContentInfo = { contentType: string, fileName: string }
