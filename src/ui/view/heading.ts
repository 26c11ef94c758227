import { Component, html } from '../libraries.ts'

/** The heading of a view that was gone to: it has the focus, so that a screen reader begins there. */
export class Heading extends Component<{ text: string }> {
  element: HTMLElement | null = null

  override componentDidMount (): void { this.element?.focus({ preventScroll: true }) }

  override render ({ text }: { text: string }) {
    const setElement = (element: HTMLElement | null): void => { this.element = element }
    return html`<h2 tabindex="-1" ref=${setElement}>${text}</h2>`
  }
}
