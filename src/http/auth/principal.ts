import type { FastifyRequest } from 'fastify'
import { ServiceFailure } from '../../errors.ts'

/**
 * The client of a request, and what its token allows. `allTenants`: the jobs of every tenant, and those without one.
 * `expiresAt`: when the token stops to be valid, in ms since 1970.
 */
export type Principal = Readonly<{
  subject: string, tenant: string, scopes: readonly string[], allTenants: boolean, expiresAt: number
}>

/** Whether the principal may see jobs of this tenant; null: a row without a tenant, which every principal may see. */
export const maySee = (principal: Principal, tenant: string | null): boolean =>
  tenant === null || tenant === principal.tenant || principal.allTenants

/**
 * Whether the principal may change jobs of this tenant: each may read a row without a tenant, but only an admin may
 * change it.
 */
export const mayChange = ({ tenant: own, allTenants }: Principal) => (tenant: string | null): boolean =>
  allTenants || tenant === own

/** The principal that the authentication hook set; on every route that is not public there is one. */
export const principalOf = (request: Pick<FastifyRequest, 'principal'>): Principal => {
  if (request.principal === null) throw new ServiceFailure('UNAUTHORIZED', 'Send a valid token.')
  return request.principal
}
