// js_on_load of each gr.HTML of the page: tells the server of clicks on what carries data-act; runs once per component.
element.addEventListener('click', (event) => {
  const target = event.target.closest('[data-act]');
  if (!target || target.disabled || !element.contains(target)) return;
  const data = { ...target.dataset };
  if (target.type === 'checkbox') data.checked = target.checked;
  trigger('act', data);
});
// What the person unfolded stays unfolded when the text is drawn anew.
const unfolded = new Set();
element.addEventListener('click', (event) => {
  const summary = event.target.closest('summary');
  if (!summary) return;
  const turn = summary.closest('.turn')?.dataset.turn;
  if (summary.parentElement.open) unfolded.delete(turn); else unfolded.add(turn);
});
watch('value', () => {
  element.querySelectorAll('.turn details').forEach((details) => {
    if (unfolded.has(details.closest('.turn').dataset.turn)) details.open = true;
  });
  element.querySelector('.sheet .mark, .text .mark')?.scrollIntoView({ block: 'center' });
  const talk = element.querySelector('.talk');
  if (!talk) return;
  const box = element.closest('#talk') || element;
  const turns = talk.querySelectorAll('.turn').length;
  const isNew = turns !== Number(box.dataset.turns || 0);
  box.dataset.turns = turns;
  if (isNew) talk.lastElementChild?.scrollIntoView({ block: 'nearest' });
});
