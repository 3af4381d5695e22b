"""The long-tail methods, one row each, including its builder. A new method is a row here and its function.

See ``method`` for the fields of a row and the arguments of the function.
"""

from resnet_mlflow.longtail.method import (
    ANY_HEAD,
    SENSITIVE_HEADS,
    Hyperparameter,
    Method,
    named_heads,
    trained_heads,
)
from resnet_mlflow.registry import Registry

TENTHS = tuple(round(0.1 * step, 1) for step in range(21))  # 0 to 2
STEPWISE_HEADS = trained_heads("it needs a head that is trained in epochs")
LOSS_HEADS = trained_heads("it replaces the loss of a head that is trained by gradient descent")
LAYERED_HEADS = trained_heads("it changes the last linear layer, which the other heads do not have")

METHODS: Registry[Method] = Registry(
    "method",
    Method("none", "none", ANY_HEAD, "cross-entropy, instance sampling", corrects=False, removed=0.0),
    Method(
        "resample_balanced",
        "sampling",
        SENSITIVE_HEADS,
        "Kang et al. (2020), Decoupling, q = 0",
        "resnet_mlflow.longtail.samplers:balanced_rows",
    ),
    Method(
        "resample_sqrt",
        "sampling",
        SENSITIVE_HEADS,
        "Mahajan et al. (2018); Kang et al. (2020), Decoupling, q = 1/2",
        "resnet_mlflow.longtail.samplers:sqrt_rows",
        removed=0.5,
    ),
    Method(
        "resample_progressive",
        "sampling",
        STEPWISE_HEADS,
        "Kang et al. (2020), Decoupling, equation 2",
        "resnet_mlflow.longtail.samplers:progressive_rows",
        whole_schedule=True,
    ),
    Method(
        "oversample",
        "resampling",
        SENSITIVE_HEADS,
        "Buda et al. (2018), A systematic study",
        "resnet_mlflow.longtail.resampling:oversampled_rows",
    ),
    Method(
        "undersample",
        "resampling",
        SENSITIVE_HEADS,
        "Buda et al. (2018), A systematic study",
        "resnet_mlflow.longtail.resampling:undersampled_rows",
    ),
    Method(
        "smote",
        "synthesis",
        SENSITIVE_HEADS,
        "Chawla et al. (2002), SMOTE",
        "resnet_mlflow.longtail.resampling:smote",
    ),
    Method(
        "reweight_inverse",
        "weighting",
        SENSITIVE_HEADS,
        "Huang et al. (2016), Learning Deep Representation",
        "resnet_mlflow.longtail.weights:inverse_weights",
    ),
    Method(
        "reweight_sqrt",
        "weighting",
        SENSITIVE_HEADS,
        "Mahajan et al. (2018)",
        "resnet_mlflow.longtail.weights:sqrt_weights",
    ),
    Method(
        "reweight_effective",
        "weighting",
        SENSITIVE_HEADS,
        "Cui et al. (2019), Class-Balanced Loss",
        "resnet_mlflow.longtail.weights:effective_weights",
        {"beta": Hyperparameter(0.9999, (0.9, 0.99, 0.999, 0.9999), 0.9, 0.99999)},
    ),
    Method(
        "focal",
        "loss",
        LOSS_HEADS,
        "Lin et al. (2017), Focal Loss",
        "resnet_mlflow.longtail.losses:focal_loss",
        {"gamma": Hyperparameter(1.0, (0.5, 1.0, 2.0), 0.0, 5.0)},
        corrects=False,
        removed=0.0,
    ),
    Method(
        "ldam_drw",
        "loss",
        named_heads("linear", why_not="it needs features of unit length under a linear layer"),
        "Cao et al. (2019), LDAM",
        "resnet_mlflow.longtail.losses:ldam_loss",
        {"margin": Hyperparameter(0.5, (0.1, 0.3, 0.5), 0.01, 1.0)},
        whole_schedule=True,
    ),
    Method(
        "balanced_softmax",
        "loss",
        LOSS_HEADS,
        "Ren et al. (2020), Balanced Meta-Softmax",
        "resnet_mlflow.longtail.losses:balanced_softmax_loss",
    ),
    Method(
        "logit_adjust_loss",
        "loss",
        LOSS_HEADS,
        "Menon et al. (2021), Logit Adjustment",
        "resnet_mlflow.longtail.losses:logit_adjusted_loss",
        {"tau": Hyperparameter(1.0, (0.5, 1.0, 1.5, 2.0), 0.0, 3.0)},
        removed="tau",
    ),
    Method(
        "logit_adjust_posthoc",
        "posthoc",
        ANY_HEAD,
        "Menon et al. (2021), Logit Adjustment",
        "resnet_mlflow.longtail.corrections:logit_adjustment",
        {"tau": Hyperparameter(1.0, TENTHS, 0.0, 3.0)},
        removed="tau",
    ),
    Method(
        "tau_norm",
        "posthoc",
        LAYERED_HEADS,
        "Kang et al. (2020), Decoupling, equation 4",
        "resnet_mlflow.longtail.corrections:tau_norm",
        {"tau": Hyperparameter(1.0, TENTHS, 0.0, 2.0)},
    ),
    Method(
        "crt",
        "decoupled",
        LAYERED_HEADS,
        "Kang et al. (2020), Decoupling, section 4.2",
        "resnet_mlflow.longtail.decoupled:fit_crt",
    ),
    Method(
        "lws",
        "decoupled",
        LAYERED_HEADS,
        "Kang et al. (2020), Decoupling, section 4.2",
        "resnet_mlflow.longtail.decoupled:fit_lws",
    ),
    Method(
        "ncm",
        "decoupled",
        named_heads(
            "prototype",
            "linear",
            why_not="it is a classifier itself, which replaces a linear layer or other prototypes",
        ),
        "Kang et al. (2020), Decoupling, section 4.2",
        "resnet_mlflow.longtail.decoupled:fit_ncm",
    ),
)
