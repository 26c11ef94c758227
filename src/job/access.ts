/** Which records a client may read: those of its own tenant and those without a tenant, or all of them. */
export type Access = { tenant: string, allTenants: boolean }
