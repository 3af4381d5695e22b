"""What all configuration models share: names that several know, and immutability."""

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
# Parameters that say where and how fast, not what: two runs that differ in these give the same numbers.
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
        # The dataset's digest tells what it left out.
        "max_pixels",
    }
)

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
MaxPixels = Annotated[int, Field(ge=1, le=MOST_PIXELS)]


def _known_backbone(name: str) -> str:
    # Whether timm knows a name is asked where the network is: importing it takes seconds.
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

    # Told to whoever stops the entry point.
    after_stop: ClassVar[str] = "run the same command again to continue"

    def problem_with_ranks(self, n_ranks: int) -> str:
        """Return the rule that several processes of ``torchrun`` would break; empty where they can share the work."""
        return "must run in a single process"

    @property
    def unread(self) -> frozenset[str]:
        """Return the parameters that nothing reads, given the others."""
        return frozenset()

    @property
    def idle(self) -> frozenset[str]:
        """Return the parameters that take no part in a run, which its list of parameters leaves out.

        These are what nothing reads, what was left empty, and where and how fast things run, as long as that is the
        default. ``config.json`` of a run has them all.
        """
        fields = type(self).model_fields.items()
        usual = {name for name, field in fields if getattr(self, name) == field.default}
        return self.unread | {name for name, field in fields if field.default == "" or name in EXECUTION_ONLY} & usual
