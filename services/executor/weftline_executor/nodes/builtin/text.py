"""Settings that are text, whatever an expression gives for them."""

from typing import Annotated

from pydantic import BeforeValidator

from weftline_executor.nodes.values import text

# A number, a list or an object from an expression becomes JSON text.
Text = Annotated[str, BeforeValidator(text)]
