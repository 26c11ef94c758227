/** The principals that may read a job: every one, since it has no tenant, or those of one tenant (and admins). */
export type Readers = 'everyone' | Readonly<{ tenant: string }>
