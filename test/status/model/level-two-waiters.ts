import { type Actor, move, nothing, reveal, type Rules, type State, type To } from './level-two-state.ts'

/*
 * Clients that wait for changes. One subscribes at its node, reads as any reader does, and then waits. An exposure at its
 * node wakes it with the entry at hand, which it answers without another read; the relay of its node wakes it to read.
 * There is no check every few seconds here, which would only hide that a change was missed.
 */

const isWaiting = ({ kind }: Actor): boolean => kind === 'waiter' || kind === 'stream'

/** The version with which every stream ends. */
export const lastVersion = ({ actors }: State): number =>
  1 + actors.filter(({ kind }) => kind === 'writer' || kind === 'foreign').length

const mapSubscribed = (
  state: State, { subscribesFirst }: Rules, node: 0 | 1, change: (actor: Actor) => Actor
): State => ({
  ...state,
  actors: state.actors.map(actor => {
    const isSubscribed = isWaiting(actor) && actor.node === node &&
      (subscribesFirst ? actor.at !== 'idle' && actor.at !== 'done' : actor.at === 'parked')
    return isSubscribed ? change(actor) : actor
  })
})

/** An exposure at a node: who waits there gets the entry. */
export const offer = (state: State, rules: Rules, node: 0 | 1, version: number): State =>
  mapSubscribed(state, rules, node, actor => {
    if (!rules.takesOnlyNewer) return { ...actor, offered: version === actor.seen ? 0 : version }
    return version <= actor.seen ? actor : { ...actor, offered: Math.max(actor.offered, version) }
  })

/** A round of the relay at a node: who waits there and has not seen the change reads. */
export const wake = (state: State, rules: Rules, node: 0 | 1, version: number): State =>
  mapSubscribed(state, rules, node, actor =>
    version <= actor.seen ? actor : { ...actor, asked: Math.max(actor.asked, version) })

/** Reveals a version to one that waits, which is done with it or waits for a newer one. */
const answer = (state: State, index: number, version: number, at: Actor['at']): State => {
  const { kind, floor, offered, asked } = state.actors[index] as Actor
  if (kind === 'waiter' || version >= lastVersion(state)) return reveal(state, index, version)
  return reveal(state, index, version, {
    ...at === 'parked' ? nothing : {},
    at,
    floor,
    seen: version,
    offered: offered > version ? offered : 0,
    asked: asked > version ? asked : 0
  })
}

/** It has what it read: answers if that is what it waits for, otherwise waits. */
export const takeRead = (state: State, index: number, { remembersWakes }: Rules, name: string, to: To) => {
  const read = remembersWakes ? state : move(state, index, { asked: 0 })
  const { version, seen, floor, offered, asked } = read.actors[index] as Actor
  if (version > seen) return to(`${name} answers v${version}`, answer(read, index, version, 'parked'))
  if (seen >= lastVersion(read)) {
    return to(`${name} has seen the end before`, move(read, index, { ...nothing, at: 'done' }))
  }
  to(`${name} waits`, move(read, index, { ...nothing, at: 'parked', floor, seen, offered, asked }))
}

/** What one that waits does when it is woken. */
export const heed = (
  state: State, index: number, { readsBeforeEntries, judgesFromStart }: Rules, name: string, to: To
) => {
  const { kind, at, seen, offered, asked } = state.actors[index] as Actor
  const isListening = at === 'parked' || (!readsBeforeEntries && at !== 'idle' && at !== 'done')
  if ((kind !== 'waiter' && kind !== 'stream') || !isListening) return
  if (offered > 0 && offered !== seen) {
    const judged = judgesFromStart ? state : move(state, index, { floor: state.revealed })
    to(`${name} is woken with v${offered}, and answers it`, answer(judged, index, offered, at))
  }
  if (at === 'parked' && asked > seen) to(`${name} is woken by the relay, and reads`, move(state, index, { at: 'begun' }))
}

/** What is left undone in a state after which nothing more is bound to happen. */
export const findStuck = (state: State): string | null => {
  for (const [index, actor] of state.actors.entries()) {
    const { kind, at, seen } = actor
    if (at === 'done' || (kind === 'relay' && at === 'idle')) continue
    return isWaiting(actor)
      ? `${kind} ${index} has v${seen} and waits for ever, though the record has v${state.record}`
      : `${kind} ${index} is stuck`
  }
  return null
}
