// js_on_load of each gr.HTML of the page; runs once per component.
// Clicks on what carries data-act are told to the server.
element.addEventListener('click', (event) => {
  const target = event.target.closest('[data-act]');
  if (!target || target.disabled || !element.contains(target)) return;
  const data = { ...target.dataset };
  if (target.type === 'checkbox') data.checked = target.checked;
  trigger('act', data);
});

// Files are uploaded one by one, and the server is told where they lie.
element.addEventListener('change', (event) => {
  if (event.target.type === 'file') send([...event.target.files]).then(() => { event.target.value = ''; });
});
for (const name of ['dragover', 'drop']) element.addEventListener(name, (event) => {
  if (!element.querySelector('.drop')) return;
  event.preventDefault();
  if (name === 'drop') send([...event.dataTransfer.files]);
});
async function send(files) {
  const drop = element.querySelector('.drop'), sent = [], refused = [];
  drop.classList.add('sending');
  for (const file of files) {
    if (file.size > Number(drop.dataset.limit) * 1e6) { refused.push({ name: file.name, large: true }); continue; }
    try {
      sent.push({ path: (await upload(file)).path, name: file.name });
    } catch (error) {
      refused.push({ name: file.name, large: false });
    }
  }
  drop.classList.remove('sending');
  trigger('act', { act: 'uploaded', files: sent, refused: refused });
}

// What the person unfolded stays unfolded when the text is drawn anew.
const unfolded = new Set();
const fold = (details) => `${details.closest('.turn')?.dataset.turn} ${details.dataset.fold}`;
element.addEventListener('click', (event) => {
  const details = event.target.closest('summary')?.parentElement;
  if (details && details.open) unfolded.delete(fold(details));
  else if (details) unfolded.add(fold(details));
});

let turns = 0;
watch('value', () => {
  element.querySelectorAll('.turn details').forEach((details) => {
    if (unfolded.has(fold(details))) details.open = true;
  });
  // The page is moved to what is marked on it; the conversation to the beginning of a new turn.
  const page = element.closest('#page');
  if (page) page.scrollTop = Math.max(0, offset(element.querySelector('.mark'), page) - page.clientHeight / 3);
  const talk = element.closest('#talk');
  if (!talk) return;
  const found = element.querySelectorAll('.turn');
  if (found.length !== turns && found.length) talk.scrollTop += offset(found[found.length - 1], talk) - talk.scrollTop;
  turns = found.length;
});

function offset(inner, outer) {
  if (!inner) return 0;
  return inner.getBoundingClientRect().top - outer.getBoundingClientRect().top + outer.scrollTop;
}
