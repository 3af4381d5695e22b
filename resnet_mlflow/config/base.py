"""What all configuration models share: common names, and immutability."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from resnet_mlflow.data.formats import MOST_PIXELS
from resnet_mlflow.registry.backbones import BACKBONES, TIMM
from resnet_mlflow.registry.heads import HEADS

if TYPE_CHECKING:
    Head = str
    HeadOrAll = str
else:
    # Choices of the command line: pydantic and argparse read a Literal's arguments.
    Head = Literal[tuple(HEADS)]
    HeadOrAll = Literal[(*HEADS, "all")]
# Parameters that set where and how fast a run computes, not what: they do not change its numbers.
EXECUTION_ONLY = frozenset(
    {
        *(
            "cache_dir",
            "data_dir",
            "num_workers",
            "share_features",
            "device",
            "attention_maps",
            "storage",
            "heartbeat_s",
            "workers",
            "scheduler",
        ),
        # The dataset's digest already reflects what was left out.
        "max_pixels",
    }
)

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
MaxPixels = Annotated[int, Field(ge=1, le=MOST_PIXELS)]


def _known_backbone(name: str) -> str:
    # Whether timm has a name is checked where the network is built: importing timm takes seconds.
    if name in BACKBONES or (name.startswith(TIMM) and len(name) > len(TIMM)):
        return name
    choices = [*BACKBONES, f"{TIMM}NAME"]
    expected = f"{', '.join(map(repr, BACKBONES))} or '{TIMM}NAME'"
    raise PydanticCustomError("literal_error", "", {"expected": expected, "choices": choices})


Backbone = Annotated[str, AfterValidator(_known_backbone)]
BACKBONE_CHOICES = f"One of {', '.join(BACKBONES)}, or {TIMM}NAME for a ResNet of timm (extra timm)."


class Config(BaseModel):
    """What all entry points share: immutable, and no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    # Message to the user who stops the entry point.
    after_stop: ClassVar[str] = "run the same command again to continue"

    def problem_with_ranks(self, n_ranks: int) -> str:
        """Return the rule that several processes of ``torchrun`` would break; empty if they can share the work."""
        return "must run in a single process"

    @property
    def unread(self) -> frozenset[str]:
        """Return the parameters that are not read, given the others."""
        return frozenset()

    @property
    def idle(self) -> frozenset[str]:
        """Return the parameters without effect on a run, which are omitted from its list of parameters.

        These are the parameters that are not read, those left empty, and those for place and speed with default values.
        ``config.json`` of a run has them all.
        """
        fields = type(self).model_fields.items()
        usual = {name for name, field in fields if getattr(self, name) == field.default}
        return self.unread | {name for name, field in fields if field.default == "" or name in EXECUTION_ONLY} & usual
