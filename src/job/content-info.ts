/** What the bytes are that a run begins to send. */
export type ContentInfo = { contentType: string, fileName: string }
