import { type Children, Component, html } from '../libraries.ts'
import type { Ui } from './ui.ts'

type DialogProps = { isOpen: boolean, label: string, onCancel: () => void, children?: Children }

/** A modal dialog of the browser, which keeps the focus inside and gives it back. */
class Dialog extends Component<DialogProps> {
  element: HTMLDialogElement | null = null

  override componentDidMount (): void { this.follow() }
  override componentDidUpdate (): void { this.follow() }

  follow (): void {
    const { element, props: { isOpen } } = this
    if (element === null || element.open === isOpen) return
    if (isOpen) element.showModal()
    else element.close()
  }

  override render () {
    const { isOpen, label, onCancel, children } = this.props
    const setElement = (element: HTMLDialogElement | null): void => { this.element = element }
    const cancel = (event: Event): void => {
      event.preventDefault()
      onCancel()
    }
    return html`<dialog ref=${setElement} aria-label=${label} onCancel=${cancel}>${isOpen && children}</dialog>`
  }
}

const fieldOf = (event: Event, name: string): HTMLInputElement | null =>
  (event.currentTarget as HTMLFormElement).elements.namedItem(name) as HTMLInputElement | null

/** Asks for a token, over whatever the page shows. */
export const TokenDialog = ({ ui: { session, tokenCommand } }: { ui: Ui }) => {
  const problem = session.problem()
  const enter = (event: Event): void => {
    event.preventDefault()
    const field = fieldOf(event, 'token')
    if (field !== null && session.enter(field.value)) field.value = ''
  }
  return html`<${Dialog} isOpen=${problem !== null} label="Token" onCancel=${() => {}}>
    <form onSubmit=${enter}>
      <h2>Token</h2>
      <p role="alert">${problem}</p>
      <label>Bearer token (JWT)
        <input name="token" type="password" autocomplete="off" spellcheck=${false} required autofocus />
      </label>
      ${tokenCommand !== null && html`<p>This command prints one for this service:</p><pre><code>${tokenCommand}</code></pre>`}
      <p class="quiet">It is kept in this tab only, and sent to this service only.</p>
      <p class="actions"><button class="primary">Use the token</button></p>
    </form>
  <//>`
}

/** Asks before something that cannot be undone. */
export const QuestionDialog = ({ ui: { question, ask } }: { ui: Ui }) => {
  const asked = question()
  const close = (): void => { ask(null) }
  const yes = (): void => {
    close()
    asked?.onYes()
  }
  return html`<${Dialog} isOpen=${asked !== null} label="Confirmation" onCancel=${close}>
    <p>${asked?.text}</p>
    <p class="actions">
      <button type="button" autofocus onClick=${close}>Keep it</button>
      <button type="button" class="danger" onClick=${yes}>${asked?.answer}</button>
    </p>
  <//>`
}
