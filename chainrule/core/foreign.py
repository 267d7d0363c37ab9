"""Names of PyTorch, Keras and scikit-learn, and what to use in chainrule instead.

Error messages quote these tables.  To support another name, add a row to one of them.

Read next: :func:`chainrule.core.errors.did_you_mean`, which looks here first.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["ADVICE", "CALLED", "MEMBERS", "advice", "no_member"]

# From a name, in lower case and without "_" and "-", to its names in chainrule.  The first
# that exists where the name was used is suggested.
CALLED: dict[str, tuple[str, ...]] = {
    # layers
    "dense": ("Linear",),
    "fullyconnected": ("Linear",),
    "batchnormalization": ("BatchNorm",),
    "batchnorm1d": ("BatchNorm",),
    "layernormalization": ("LayerNorm",),
    "swish": ("SiLU", "silu"),
    "rescaling": ("Scale",),
    "model": ("Sequential", "Network"),
    "functional": ("Network",),
    # losses
    "categoricalcrossentropy": ("cross_entropy",),
    "sparsecategoricalcrossentropy": ("cross_entropy",),
    "crossentropyloss": ("cross_entropy",),
    "softmaxcrossentropy": ("cross_entropy",),
    "logloss": ("cross_entropy",),
    "nllloss": ("cross_entropy",),
    "binarycrossentropy": ("binary_cross_entropy",),
    "bceloss": ("binary_cross_entropy",),
    "bcewithlogitsloss": ("binary_cross_entropy",),
    "bce": ("binary_cross_entropy",),
    "meansquarederror": ("mse",),
    "mseloss": ("mse",),
    "squarederror": ("mse",),
    "meanabsoluteerror": ("mae",),
    "l1loss": ("mae",),
    "absoluteerror": ("mae",),
    "huberloss": ("huber",),
    "smoothl1loss": ("huber",),
    "kldivloss": ("kl_divergence",),
    "kld": ("kl_divergence",),
    "poissonnllloss": ("poisson",),
    "multimarginloss": ("multiclass_hinge",),
    "categoricalhinge": ("multiclass_hinge",),
    # optimizers and schedules
    "stochasticgradientdescent": ("SGD", "sgd"),
    "steplr": ("StepDecay",),
    "exponentiallr": ("Exponential",),
    "exponentialdecay": ("Exponential",),
    "cosineannealinglr": ("Cosine",),
    "cosinedecay": ("Cosine",),
    "cosineannealingwarmrestarts": ("CosineRestarts",),
    "onecyclelr": ("OneCycle",),
    "polynomiallr": ("Polynomial",),
    "multisteplr": ("Piecewise",),
    "reducelronplateau": ("ReduceOnPlateau",),
    "averagedmodel": ("EMA",),
    "clipgradnorm": ("ClipNorm", "clip_norm"),
    "clipnorm": ("ClipNorm", "clip_norm"),
    "clipvalue": ("ClipValue", "clip_value"),
    # penalties and initializers
    "l1l2": ("L1L2",),
    "elasticnet": ("L1L2",),
    "xavieruniform": ("GlorotUniform", "glorot_uniform"),
    "xaviernormal": ("GlorotNormal", "glorot_normal"),
    "kaiminguniform": ("HeUniform", "he_uniform"),
    "kaimingnormal": ("HeNormal", "he_normal"),
    # arguments and options
    "lr": ("learning_rate",),
    "learningrate": ("learning_rate", "lr"),
    "learningrateinit": ("learning_rate", "lr"),
    "maxiter": ("epochs",),
    "nepochs": ("epochs",),
    "nbepoch": ("epochs",),
    "numepochs": ("epochs",),
    "batch": ("batch_size",),
    "onepochend": ("on_epoch",),
    "callback": ("on_epoch",),
    "validationsplit": ("validation",),
    "validationdata": ("validation",),
    "validationfraction": ("validation",),
    "evalset": ("validation",),
    "verbose": ("progress", "quiet"),
    "randomstate": ("seed",),
    "hiddenlayersizes": ("hidden",),
    "layers": ("hidden",),
    "units": ("outputs", "hidden"),
    "outfeatures": ("outputs",),
    "infeatures": ("inputs",),
    "kernelinitializer": ("weight_init",),
    "kernelregularizer": ("regularizer",),
    "solver": ("optimizer",),
    "criterion": ("loss",),
    "njobs": ("threads",),
    "numworkers": ("threads",),
    "dropoutrate": ("dropout",),
    "testsize": ("test_fraction",),
    "niternochange": ("patience",),
    # functions
    "traintestsplit": ("split",),
    "stratifiedkfold": ("stratified_folds",),
    "kfold": ("folds",),
    "standardscaler": ("Standardize",),
    "minmaxscaler": ("MinMax",),
    "robustscaler": ("Robust",),
    "readcsv": ("read_table",),
    "readparquet": ("read_table",),
    "cat": ("concat",),
    "concatenate": ("concat",),
    "unsqueeze": ("expand_dims",),
    "permute": ("transpose",),
    "view": ("reshape",),
    "clamp": ("clip",),
    "detach": ("stop_gradient",),
    "stopgradient": ("stop_gradient",),
    "placeholder": ("input",),
    "dot": ("matmul",),
    "mm": ("matmul",),
    "bmm": ("matmul",),
    "atan": ("arctan",),
    "array": ("tensor",),
    "astensor": ("tensor",),
    "jacrev": ("jacobian",),
    "gradcheck": ("check_grads",),
}

_PROCESSOR = (
    "chainrule runs on the CPU, where threads sets the number of cores; engine='xla' runs fit on "
    "the devices that JAX finds."
)
_CONVOLUTION = "Convolutions are not in chainrule yet."
_RECURRENCE = "Recurrent layers are not in chainrule yet."
_ATTENTION = "Attention is not in chainrule yet."
_MODE = (
    "There is no training mode to set: layers such as Dropout are active in fit and inactive in "
    "predict."
)
_RETURNED = "Gradients are returned, not stored: g = chainrule.grad(loss, weight)."

# From names written as above, which have no counterpart in chainrule, to advice.
ADVICE: dict[str, str] = {
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "convtranspose2d", "maxpool2d", "maxpooling2d",
         "avgpool2d", "averagepooling2d", "adaptiveavgpool2d", "globalaveragepooling2d",
         "batchnorm2d"),
        _CONVOLUTION,
    ),
    **dict.fromkeys(
        ("rnn", "lstm", "gru", "simplernn", "lstmcell", "grucell", "bidirectional"), _RECURRENCE
    ),
    **dict.fromkeys(
        ("attention", "multiheadattention", "transformer", "transformerencoder"), _ATTENTION
    ),
    **dict.fromkeys(("device", "cuda", "gpu", "tocuda"), _PROCESSOR),
    "module": "A layer is a dataclass whose __call__(self, x) returns what it computes.",
    "nograd": "Gradients are computed only by chainrule.grad.",
    "gradienttape": "No tape is needed: call chainrule.grad(loss, weights).",
    "shuffle": "The rows are shuffled in every epoch; seed sets the order.",
    "dataloader": "Pass arrays: chainrule.fit(model, (X, y), batch_size=32) makes the batches.",
    "tensordataset": "Pass arrays: chainrule.fit(model, (X, y), ...).",
    "lambdalr": "Subclass optim.Schedule and return the rate as a graph from value(h, s).",
    "learningratescheduler": "Give the optimizer a schedule: optim.Adam(optim.Cosine(1e-3)).",
    "modelcheckpoint": "fit keeps the best weights; run.save(folder) saves them.",
    "tensorboard": "on_epoch(run, record) is called after each epoch with the numbers to write.",
    "softmax": (
        "The last layer of a classifier is Linear: the loss cross_entropy takes logits, and "
        "run.predict_proba returns probabilities. The function is chainrule.softmax."
    ),
    "logsoftmax": (
        "The last layer of a classifier is Linear: the loss cross_entropy takes logits. "
        "The function is chainrule.log_softmax."
    ),
    "pickle": "Use run.save(folder) and chainrule.load(folder).",
    "save": "Use run.save(folder) and chainrule.load(folder).",
}  # fmt: skip

# Methods and attributes of models, optimizers, tensors and runs of other frameworks.
MEMBERS: dict[str, str] = {
    "fit": "Train it with run = chainrule.fit(model, (X, y), loss=..., optimizer=...).",
    "compile": "Loss and optimizer are given to chainrule.fit, which compiles the training step.",
    "predict": "Train it first: run = chainrule.fit(model, ...); then run.predict(X).",
    "evaluate": "Train it first: run = chainrule.fit(model, ...); then run.evaluate((X, y)).",
    "parameters": "Use chainrule.nn.parameters(model).",
    "named_parameters": "Use chainrule.nn.parameters(model); each has a name.",
    "trainable_variables": "Use chainrule.nn.parameters(model).",
    "get_weights": "Use chainrule.nn.parameters(model); each has a value.",
    "set_weights": "Assign to the value of each of chainrule.nn.parameters(model).",
    "state_dict": "run.save(folder) saves a trained model, chainrule.load(folder) reads it.",
    "load_state_dict": "run.save(folder) saves a trained model, chainrule.load(folder) reads it.",
    "eval": _MODE,
    "train": _MODE,
    "add": "Layers are given as a list: nn.Sequential([nn.Linear(4, 8), nn.ReLU()]).",
    "append": "Layers are given as a list: nn.Sequential([nn.Linear(4, 8), nn.ReLU()]).",
    "forward": "Call the layer: layer(x).",
    "summary": "Use chainrule.nn.summary(model).",
    "to": _PROCESSOR,
    "cuda": _PROCESSOR,
    "cpu": _PROCESSOR,
    "device": _PROCESSOR,
    "zero_grad": _RETURNED,
    "step": "chainrule.fit performs the steps; by hand: w.value = w.value - 0.1 * g.numpy().",
    "apply_gradients": "chainrule.fit performs the steps.",
    "minimize": "chainrule.fit performs the steps.",
    "param_groups": "optim.groups sets the optimizer of parameters by patterns of their names.",
    "backward": _RETURNED,
    "grad": _RETURNED,
    "requires_grad": "Every float tensor has gradients: call chainrule.grad(loss, x).",
    "requires_grad_": "Every float tensor has gradients: call chainrule.grad(loss, x).",
    "detach": "Use chainrule.stop_gradient(x), or x.numpy() for its value.",
    "clone": "Tensors do not change, so no copy is needed.",
    "data": "Use x.numpy().",
    "tolist": "Use x.numpy().tolist().",
    "view": "Use x.reshape(...).",
    "permute": "Use x.transpose(...).",
    "unsqueeze": "Use chainrule.expand_dims(x, axis).",
    "squeeze": "Use chainrule.squeeze(x, axis).",
    "size": "Use x.shape.",
    "dim": "Use x.ndim.",
    "float": "Use x.astype('float32').",
    "double": "Use x.astype('float64').",
    "long": "Use x.astype('int64').",
    "matmul": "Use a @ b, or chainrule.matmul(a, b).",
    "mm": "Use a @ b, or chainrule.matmul(a, b).",
    "score": "run.evaluate((X, y)) returns the loss and the metrics.",
    "score_samples": "run.evaluate((X, y)) returns the loss and the metrics.",
    "coefs_": "Use chainrule.nn.parameters(run.model); each has a value.",
    "loss_curve_": "Use run.history, which has one record for each epoch.",
}


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def advice(name: str, options: Collection[str]) -> str:
    """Return advice for a `name` known from another framework, or "" if there is none.

    >>> advice("Dense", ["Density", "Linear"])
    "It is called 'Linear' here."
    >>> advice("Conv2d", ["Linear"])
    'Convolutions are not in chainrule yet.'
    >>> advice("Dense", ["Adam"])
    ''
    """
    key = _key(name)
    for called in CALLED.get(key, ()):
        if called in options and called != name:
            return f"It is called {called!r} here."
    return ADVICE.get(key, "")


def no_member(owner: object, name: str) -> AttributeError:
    """Return the error for an attribute that `owner` does not have, with what to do instead.

    >>> str(no_member([], "backward"))[:67]
    "'list' object has no attribute 'backward'. Gradients are returned, "
    """
    hint = MEMBERS.get(name, "")
    return AttributeError(
        f"{type(owner).__name__!r} object has no attribute {name!r}. {hint}".rstrip(". ")
        + ("." if hint else "")
    )
