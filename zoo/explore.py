"""`zoo explore`: a local page with a slider for each latent, which decodes as one moves. Gradio draws it: extra `explore`."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import pictures
from .data import Dataset
from .variant import Contract

if TYPE_CHECKING:
    import gradio
    from PIL.Image import Image

SPREAD_OF = 500                                             # test examples whose codes say how far a slider goes
FONT = ("system-ui", "sans-serif")                          # gradio's own would be fetched from the network


class Explorer:
    """What the page shows, without the page: codes of the test examples, and pictures of what codes decode to.

    `latents` are those with a slider, the widest spread of the posterior means first; without data the first n. The others
    keep the values of the example at hand, or 0.
    Raises: ValueError for a model with a latent at every step, which has no one code to move, and for n below 1.
    """

    def __init__(self, model: Contract, data: Dataset | None = None, n: int = 12) -> None:
        if n < 1:
            raise ValueError(f"n is {n}; at least 1 latent must have a slider")
        self.model, self.data = model, data
        self.codes = torch.zeros(1, model.latent_dim)
        if data is not None:
            self.codes = model.encode(data.test.head(SPREAD_OF).batch(slice(None)))
        if self.codes.dim() == 3:
            raise ValueError(f"{model.name} has a latent at every step: there is no one code to move; see `zoo sample`")
        mean, deviation = self.codes.mean(0), self.codes.std(0, correction=0)
        self.latents = deviation.argsort(descending=True, stable=True)[:n].tolist()
        self.low, self.high = (mean - 3 * deviation).clamp(max=-3).floor(), (mean + 3 * deviation).clamp(min=3).ceil()

    def start(self, i: int) -> list[float]:
        """Where the sliders stand for test example i."""
        return [round(value, 2) for value in self.codes[i, self.latents].tolist()]

    def original(self, i: int) -> "Image | str":
        assert self.data is not None
        batch = self.data.test.head(SPREAD_OF).batch(slice(i, i + 1))
        assert batch.x is not None
        return self._shown(batch.x)

    def decoded(self, i: int, label: int | None, values: list[float]) -> "Image | str":
        """The mean of p(x|z) at example i's code with the sliders' values in it."""
        z = self.codes[i].clone()
        z[self.latents] = torch.tensor(values)
        given = None if label is None else torch.tensor([label])
        return self._shown(self.model.decode(z[None].to(self.model.device), given).cpu())

    def _shown(self, x: Tensor) -> "Image | str":
        spec = self.model.spec
        if spec.symbols:
            return spec.text(x)[0]
        return pictures.grid(x, spec, 1)


def page(explorer: Explorer) -> "gradio.Blocks":
    """The page. `.launch()` serves it.  Raises: ModuleNotFoundError where gradio is missing, saying what to install."""
    gr = _gradio()
    model, e = explorer.model, explorer
    conditional = "conditional" in model.entry.tags
    with gr.Blocks(title=f"zoo explore: {model.name}", analytics_enabled=False) as made:
        gr.Markdown(f"## {model.name}, {len(e.latents)} of {model.latent_dim} latents\nMove a slider: its latent changes, the "
                    "others stay, and the picture is decoded anew.")
        with gr.Row():
            with gr.Column(scale=1):
                example = gr.Slider(0, len(e.codes) - 1, 0, step=1, label="start from test example", elem_id="example",
                                    visible=e.data is not None)
                label = gr.Dropdown(list(range(model.spec.classes or 1)), value=0, label="label", visible=conditional)
                shown = _view(gr, model, "decoded", e.decoded(0, 0 if conditional else None, e.start(0)))
                original = _view(gr, model, "test example", e.original(0)) if e.data is not None else None
            with gr.Column(scale=2):
                sliders = [gr.Slider(float(e.low[d]), float(e.high[d]), value, step=0.01, label=f"latent {d}",
                                     elem_id=f"latent-{d}")
                           for d, value in zip(e.latents, e.start(0), strict=True)]

        def decode(i: int, chosen: int, *values: float) -> Any:
            return e.decoded(int(i), chosen if conditional else None, list(values))

        def begin(i: int, chosen: int) -> list[Any]:
            values = e.start(int(i))
            return [*values, decode(i, chosen, *values), *([e.original(int(i))] if original is not None else [])]

        moved = [example, label, *sliders]
        gr.on([s.input for s in sliders] + [label.input], decode, moved, shown, show_progress="hidden",
              trigger_mode="always_last", api_visibility="private")
        example.input(begin, [example, label], [*sliders, shown, *([original] if original is not None else [])],
                      show_progress="hidden", trigger_mode="always_last", api_visibility="private")
    return made


def serve(explorer: Explorer, port: int | None, open_browser: bool) -> None:
    """Serve the page on this machine alone until interrupted."""
    gr = _gradio()
    page(explorer).launch(server_name="127.0.0.1", server_port=port, inbrowser=open_browser, share=False, footer_links=[],
                          theme=gr.themes.Default(font=FONT, font_mono=("monospace",)))


def _view(gr: Any, model: Contract, label: str, value: Any) -> Any:
    if model.spec.symbols:
        return gr.Textbox(value, label=label, lines=6, interactive=False)
    gr.Markdown(label)                                      # the picture's own label would lie on its corner
    return gr.Image(value, show_label=False, buttons=["download"], format="png", interactive=False,
                    elem_id=label.replace(" ", "-"))


def _gradio() -> Any:
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("`zoo explore` draws its page with gradio, which is not installed: "
                                  "pip install 'vae-zoo[explore]'") from error
    return gradio
