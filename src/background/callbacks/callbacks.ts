import type { AllowedHost } from '../../job/callbacks/allowed-hosts.ts'
import { createDeliverCallbacks, type DeliverCallbacksNeeds } from '../../write/callbacks/deliver-callbacks.ts'
import { type CallbackDelivery, type CallbackDeliveryNeeds, createCallbackDelivery } from './delivery.ts'
import { resolveHost } from './resolve.ts'
import { createSendCallback, type SendCallbackNeeds, tryMsMax } from './send-callback.ts'

// A host that hangs has a few tries under way, and one tenant half of all.
const perHostMax = 8
const atOnceMax = 512
// Longer than a try and its record take.
const leaseMs = 2 * tryMsMax

export type CallbacksNeeds = Omit<DeliverCallbacksNeeds, 'leaseMs'> & Pick<SendCallbackNeeds, 'schedule'> &
  Pick<CallbackDeliveryNeeds, 'callbacks' | 'secrets' | 'onTried'> & { allowed: readonly AllowedHost[] }

/** The delivery of callbacks of a service process. */
export const createCallbacks = (needs: CallbacksNeeds): CallbackDelivery => createCallbackDelivery({
  ...needs,
  deliver: createDeliverCallbacks({ ...needs, leaseMs }),
  send: createSendCallback({ ...needs, resolve: resolveHost }),
  perHostMax,
  atOnceMax
})
