"""Debian's Chromium, driven as a person does: by what stands on the page."""

from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
AVAILABLE = CHROMIUM.exists() and DRIVER.exists()
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_S = 60


class Browser:
    """A window of 1400 x 1000 pixels with a profile of its own; ``flags`` are further ones of Chromium."""

    def __init__(self, profile, *flags):
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, *flags, "--window-size=1400,1000", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))

    def open(self, url):
        self.driver.get(url)
        self.driver.refresh()  # A new #fragment alone does not load a page.

    def wait(self, condition, what):
        """Return what ``condition`` gives once it is true."""
        return WebDriverWait(self.driver, PATIENCE_S, 0.2, ignored_exceptions=(Exception,)).until(
            lambda _: condition(), f"waited for {what}; the page says: {self.text()[:1500]}"
        )

    def all(self, css, text=None):
        """Return the visible elements that match, those with exactly this text where one is given."""
        found = [element for element in self.driver.find_elements(By.CSS_SELECTOR, css) if element.is_displayed()]
        return [element for element in found if text is None or element.text.strip() == text]

    def find(self, css, text=None):
        return self.wait(lambda: self.all(css, text)[0], f"{css} {text or ''}")

    def click(self, css, text=None):
        self.wait(lambda: self.all(css, text)[0].click() or True, f"a click on {css} {text or ''}")

    def type(self, css, text):
        self.find(css).send_keys(text, Keys.ENTER)

    def resize(self, width, height, *, mobile=False):
        """Give the page this size in pixels, whatever the window's borders take."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme):
        """Let pages see the system's colour scheme as ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def close_assistant(self):
        """Keep MLflow's assistant, which would cover half of the page, closed from now on."""
        for name, value in (("fab.autoOpenedOnFirstLoad_v1", "true"), ("panelOpen_v1", "false")):
            self.driver.execute_script(f"localStorage.setItem('mlflow.assistant.{name}', '{value}')")

    def text(self):
        return self.driver.find_element(By.TAG_NAME, "body").text

    def wait_for_text(self, *words):
        for word in words:
            self.wait(lambda word=word: word in self.text(), repr(word))

    def quit(self):
        self.driver.quit()
