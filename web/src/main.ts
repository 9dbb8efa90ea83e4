import { mount } from 'svelte';
import './components/tokens.css';
import './components/base.css';
import App from './shell/App.svelte';

const target = document.getElementById('app');
if (target) mount(App, { target });
