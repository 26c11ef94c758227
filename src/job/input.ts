/** Bytes that came with an input, stored apart from it. */
export type RawInput = { inputId: string, sizeBytes: number, contentType: string }

/** What a job works on, and whose rows it may read: both JSON text; and the bytes that came with it, if any. */
export type JobInput = { input: string, access: string, raw: RawInput | null }

/** Reads inputs without waiting for writes. Both throw STORE_UNAVAILABLE. */
export type InputReader = {
  find: (jobId: string) => Promise<JobInput | undefined>
  /** The bytes in order, a few chunks in memory at a time. Throws InputTorn where they end early. */
  read: (raw: RawInput) => AsyncGenerator<Uint8Array, void, void>
}

/** Which records a client may read: those of its own tenant and those without a tenant, or all of them. */
export type Access = { tenant: string, allTenants: boolean }
